"""The model store: from every form of source to files, or to a reason."""

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app import models
from serve_app.models import ModelStore, ModelUnavailable
from tests.support.hub import Fault, Hub

CONTENT = b"gguf" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/whole.gguf is right, /cut.gguf ends early, /chunk.gguf ends within a chunk; anything else is missing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.close_connection = True
        if path not in ("/whole.gguf", "/cut.gguf", "/chunk.gguf"):
            self.send_error(404)
            return
        self.send_response(200)
        if path == "/chunk.gguf":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"ff\r\nabc")
            return
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if path == "/whole.gguf" else CONTENT[:-100])

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def slot(source: str, **companions: str) -> SlotSpec:
    return SlotSpec(
        name="chat", provider="llama.cpp", model=source, companions=companions, capabilities=(Capability.CHAT,)
    )


def fetch(store: ModelStore, source: str) -> Path:
    return store.fetch(slot(source)).main


def code_of(store: ModelStore, source: str) -> str:
    with pytest.raises(ModelUnavailable) as refused:
        store.fetch(slot(source))
    assert str(refused.value) == refused.value.message
    return refused.value.code


def test_a_path_in_every_form(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = store.folder / "sub/m.gguf", tmp_path / "home/m.gguf"
    for path in (inside, outside):
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)
    monkeypatch.setenv("HOME", str(outside.parent))
    assert fetch(store, "sub/m.gguf") == inside
    for source in (str(outside), f"file://{outside}", "~/m.gguf"):
        assert store.present(slot(source))
        assert fetch(store, source) == outside
    assert fetch(store, "sub") == inside.parent


def test_companions_are_fetched_too(store: ModelStore) -> None:
    store.folder.mkdir()
    for name in ("m.gguf", "mmproj.gguf"):
        (store.folder / name).touch()
    assert store.fetch(slot("m.gguf", mmproj="mmproj.gguf")).companions == {"mmproj": store.folder / "mmproj.gguf"}
    assert not store.present(slot("m.gguf", mmproj="absent.gguf"))
    with pytest.raises(ModelUnavailable, match=r"absent\.gguf"):
        store.fetch(slot("m.gguf", mmproj="absent.gguf"))


def test_a_missing_file(store: ModelStore) -> None:
    assert not store.present(slot("m.gguf"))
    assert code_of(store, "m.gguf") == "model_missing"
    assert code_of(store, "/nowhere/m.gguf") == "model_missing"


def test_an_unreadable_file(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.folder.mkdir()
    (store.folder / "m.gguf").touch()
    # A test may run as root, who can read everything.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert code_of(store, "m.gguf") == "model_unreadable"


@pytest.mark.parametrize(
    "source",
    ["hf://org", "hf://org/repo/a b", "hf:///repo", "https://host/m.gguf#sha256=abc", "http://host/m.gguf#md5=0"],
)
def test_a_source_of_no_form(store: ModelStore, source: str) -> None:
    assert code_of(store, source) == "bad_source"


def test_a_url_is_fetched_once(store: ModelStore, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (f"{url}/whole.gguf", f"{url}/whole.gguf?x=1#sha256={SHA256.upper()}"):
        assert not store.present(slot(source))
        path = fetch(store, source)
        assert (path.name, path.read_bytes()) == ("whole.gguf", CONTENT)
        assert store.present(slot(source))
        assert [one.name for one in path.parent.iterdir()] == ["whole.gguf"]
        with monkeypatch.context() as patch:
            patch.setattr(models, "_download", lambda *_: pytest.fail("it is here"))
            assert fetch(store, source) == path


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/whole.gguf#sha256={'0' * 64}", "checksum_mismatch"),
        ("/cut.gguf", "model_unreachable"),
        ("/chunk.gguf", "model_unreachable"),
        ("/absent.gguf", "model_refused"),
    ],
)
def test_a_url_that_gives_no_model_leaves_nothing(store: ModelStore, url: str, path: str, code: str) -> None:
    assert code_of(store, url + path) == code
    assert not store.present(slot(url + path))
    assert [one for one in store.folder.rglob("*") if one.is_file()] == []


def test_an_unreachable_url(store: ModelStore) -> None:
    assert code_of(store, "http://127.0.0.1:9/m.gguf") == "model_unreachable"


def test_a_full_disk(store: ModelStore, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(models, "_download", full)
    assert code_of(store, f"{url}/whole.gguf") == "disk_full"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    file = tmp_path / "m.gguf"
    file.write_bytes(CONTENT)
    files = {"m.gguf": file, "sub/m.gguf": file}
    with Hub({"acme/models": files, "acme/gated": files}, tokens={"acme/gated": "hf_right"}) as running:
        yield running


@pytest.fixture
def use_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The library reads HF_ENDPOINT when it is imported, so these tests hand it over with every call."""

    def use(endpoint: str) -> None:
        for name in ("hf_hub_download", "snapshot_download"):
            original = getattr(huggingface_hub, name)
            given = partial(original, endpoint=endpoint, cache_dir=tmp_path / "cache", token=False)
            monkeypatch.setattr(huggingface_hub, name, given)

    return use


def test_a_file_of_the_hub(store: ModelStore, hub: Hub, use_hub: Callable[[str], None]) -> None:
    use_hub(hub.url)
    assert not store.present(slot("hf://acme/models/m.gguf"))
    commit = hub.commit("acme/models")
    for source in ("hf://acme/models/sub/m.gguf", "hf://acme/models@main/m.gguf", f"hf://acme/models@{commit}/m.gguf"):
        assert fetch(store, source).read_bytes() == CONTENT


def test_a_whole_repository_of_the_hub(store: ModelStore, hub: Hub, use_hub: Callable[[str], None]) -> None:
    use_hub(hub.url)
    assert (fetch(store, "hf://acme/models") / "sub/m.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("hf://acme/gated/m.gguf", "model_gated"),
        ("hf://acme/absent/m.gguf", "model_not_found"),
        ("hf://acme/models/absent.gguf", "model_not_found"),
        ("hf://acme/models@v9/m.gguf", "model_not_found"),
    ],
)
def test_what_the_hub_refuses(
    store: ModelStore, hub: Hub, use_hub: Callable[[str], None], source: str, code: str
) -> None:
    use_hub(hub.url)
    assert code_of(store, source) == code


def test_a_hub_that_answers_401(store: ModelStore, hub: Hub, use_hub: Callable[[str], None]) -> None:
    use_hub(hub.url)
    hub.faults["acme/models", "m.gguf"] = Fault(status=401)
    assert code_of(store, "hf://acme/models/m.gguf") == "hub_refused"


def test_an_unreachable_hub(store: ModelStore, use_hub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    # The library waits longer and longer between its tries.
    monkeypatch.setattr("time.sleep", lambda _: None)
    use_hub("http://127.0.0.1:9")
    assert code_of(store, "hf://acme/models/m.gguf") == "hub_unreachable"
