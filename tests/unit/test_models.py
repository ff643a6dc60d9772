"""The model store: from every form of source to files, or to a reason."""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache

from providers.pulling import ModelUnavailable
from serve_app.models import ModelStore
from tests.support.hub import Fault, Hub
from tests.support.hub_client import be_quick, slot, use_hub

CONTENT = b"gguf" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = "http://127.0.0.1:9"


class Handler(BaseHTTPRequestHandler):
    """/whole.gguf is right, /cut.gguf ends early, /chunk.gguf ends within a chunk, /login.gguf wants one; anything
    else is missing. It knows no HEAD and no Range."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.close_connection = True
        if path not in ("/whole.gguf", "/cut.gguf", "/chunk.gguf"):
            self.send_error(401 if path == "/login.gguf" else 404)
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
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    be_quick(monkeypatch)
    use_hub(monkeypatch, NOWHERE, tmp_path / "cache")
    return ModelStore(tmp_path / "models")


def fetch(store: ModelStore, source: str) -> Path:
    return store.fetch(slot(source)).main


def refusal(store: ModelStore, source: str) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as refused:
        store.fetch(slot(source))
    assert str(refused.value) == refused.value.message
    return refused.value


def code_of(store: ModelStore, source: str) -> str:
    return refusal(store, source).code


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
    [
        "hf://org",
        "hf://org/repo/a b",
        "hf:///repo",
        "hf://org/repo/../../m.gguf",
        "hf://org/repo/",
        "hf://org/repo//etc/passwd",
        "hf://org/repo/sub//m.gguf",
        "hf://org/repo/sub//",
        "hf://org/repo/sub/../",
        "hf://org/repo/..",
        "hf://org/repo/./sub/",
        "hf://org/repo@main//etc/",
        "hf://org/repo@../m.gguf",
        "hf://../repo/m.gguf",
        "https://host/m.gguf#sha256=abc",
        "http://host/m.gguf#md5=0",
    ],
)
def test_a_source_of_no_form(store: ModelStore, source: str) -> None:
    assert not store.present(slot(source))
    assert code_of(store, source) == "bad_source"


def test_a_url_is_fetched_once(store: ModelStore, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (f"{url}/whole.gguf", f"{url}/whole.gguf?x=1#sha256={SHA256.upper()}"):
        assert not store.present(slot(source))
        path = fetch(store, source)
        assert (path.name, path.read_bytes()) == ("whole.gguf", CONTENT)
        assert store.present(slot(source))
        assert [one.name for one in path.parent.iterdir()] == ["whole.gguf"]
        with monkeypatch.context() as patch:
            patch.setattr("serve_app.models.transport.Transport.__init__", lambda *_: pytest.fail("it is here"))
            assert fetch(store, source) == path


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/whole.gguf#sha256={'0' * 64}", "checksum_mismatch"),
        ("/cut.gguf", "model_unreachable"),
        ("/chunk.gguf", "model_unreachable"),
        ("/absent.gguf", "model_not_found"),
        ("/login.gguf", "model_gated"),
    ],
)
def test_a_url_that_gives_no_model(store: ModelStore, url: str, path: str, code: str) -> None:
    assert code_of(store, url + path) == code
    assert not store.present(slot(url + path))


def test_a_wrong_checksum_is_said_and_leaves_nothing(store: ModelStore, url: str) -> None:
    message = refusal(store, f"{url}/whole.gguf#sha256={'0' * 64}").message
    assert SHA256 in message and "removed" in message
    assert [one for one in store.folder.rglob("*") if one.is_file() and one.suffix != ".lock"] == []


def test_an_unreachable_url(store: ModelStore) -> None:
    assert code_of(store, f"{NOWHERE}/m.gguf") == "model_unreachable"


@pytest.fixture
def hub(tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """In use."""
    file = tmp_path / "m.gguf"
    file.write_bytes(CONTENT)
    files = {"m.gguf": file, "sub/m.gguf": file}
    with Hub({"acme/models": files, "acme/gated": files}, tokens={"acme/gated": "hf_right"}) as running:
        use_hub(monkeypatch, running.url, tmp_path / "cache")
        yield running


def test_a_file_of_the_hub(store: ModelStore, hub: Hub) -> None:
    commit = hub.commit("acme/models")
    for source in ("hf://acme/models/sub/m.gguf", "hf://acme/models@main/m.gguf", f"hf://acme/models@{commit}/m.gguf"):
        assert fetch(store, source).read_bytes() == CONTENT
        assert store.present(slot(source))


def test_what_is_here_asks_nobody(store: ModelStore, hub: Hub) -> None:
    path = fetch(store, "hf://acme/models/m.gguf")
    asked = len(hub.requests)
    assert fetch(store, "hf://acme/models/m.gguf") == path
    assert len(hub.requests) == asked


def test_the_cache_is_an_ordinary_hub_cache(store: ModelStore, hub: Hub, tmp_path: Path) -> None:
    path = fetch(store, "hf://acme/models/m.gguf")
    cache = tmp_path / "cache"
    assert try_to_load_from_cache("acme/models", "m.gguf", cache_dir=cache) == str(path)
    asked = hub.downloads("acme/models", "m.gguf")
    assert hf_hub_download("acme/models", "m.gguf", cache_dir=cache, endpoint=hub.url, token=False) == str(path)
    assert hub.downloads("acme/models", "m.gguf") == asked
    assert fetch(store, "hf://acme/models") == path.parents[0]
    assert snapshot_download("acme/models", cache_dir=cache, local_files_only=True) == str(path.parent)


def test_what_another_tool_pulled_is_present(store: ModelStore, hub: Hub, tmp_path: Path) -> None:
    hf_hub_download("acme/models", "m.gguf", cache_dir=tmp_path / "cache", endpoint=hub.url, token=False)
    assert store.present(slot("hf://acme/models/m.gguf"))
    assert not store.present(slot("hf://acme/models"))
    snapshot_download("acme/models", cache_dir=tmp_path / "cache", endpoint=hub.url, token=False)
    assert store.present(slot("hf://acme/models"))


def test_a_whole_repository_of_the_hub(store: ModelStore, hub: Hub) -> None:
    source = "hf://acme/models"
    fetch(store, f"{source}/m.gguf")
    assert not store.present(slot(source))
    folder = fetch(store, source)
    assert store.present(slot(source))
    assert (folder / "sub/m.gguf").read_bytes() == CONTENT
    # Both files are the same blob.
    assert hub.downloads("acme/models", "m.gguf") + hub.downloads("acme/models", "sub/m.gguf") == 1
    (folder / "m.gguf").unlink()
    assert not store.present(slot(source))


def test_a_token_opens_what_is_gated(store: ModelStore, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "HF_TOKEN" in refusal(store, "hf://acme/gated/m.gguf").message
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "does not know the token" in refusal(store, "hf://acme/gated/m.gguf").message
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert fetch(store, "hf://acme/gated/m.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("hf://acme/gated/m.gguf", "model_gated", "accept its terms"),
        ("hf://acme/gated", "model_gated", "accept its terms"),
        ("hf://acme/absent/m.gguf", "model_not_found", "no repository"),
        ("hf://acme/absent", "model_not_found", "no repository"),
        ("hf://acme/models/absent.gguf", "model_not_found", "no such file"),
        ("hf://acme/models/sub", "model_not_found", "a folder has a slash at its end"),
        ("hf://acme/models/absent/", "model_not_found", "no such folder"),
        ("hf://acme/models/m.gguf/", "model_not_found", "a file has no slash at its end"),
        ("hf://acme/models/su/", "model_not_found", "no such folder"),
        ("hf://acme/models@v9/sub/", "model_not_found", "no such revision"),
        ("hf://acme/gated/sub/", "model_gated", "accept its terms"),
        ("hf://acme/absent/sub/", "model_not_found", "no repository"),
        ("hf://acme/models@v9/m.gguf", "model_not_found", "no such revision"),
        ("hf://acme/models@v9", "model_not_found", "no such revision"),
    ],
)
def test_what_the_hub_refuses(store: ModelStore, hub: Hub, source: str, code: str, words: str) -> None:
    refused = refusal(store, source)
    assert refused.code == code
    assert words in refused.message and source in refused.message


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(status=401), "model_gated"),
        (Fault(status=403), "model_gated"),
        (Fault(status=418), "hub_refused"),
        (Fault(status=503), "hub_refused"),
        (Fault(status=429, retry_after_s=3600), "hub_refused"),
        (Fault(cut_after=100), "hub_unreachable"),
        (Fault(corrupt=True), "checksum_mismatch"),
    ],
)
def test_what_a_bad_hub_comes_to(store: ModelStore, hub: Hub, fault: Fault, code: str) -> None:
    hub.faults["acme/models", "m.gguf"] = fault
    source = "hf://acme/models/m.gguf"
    assert code_of(store, source) == code
    assert not store.present(slot(source))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_status_passes(store: ModelStore, hub: Hub, status: int) -> None:
    hub.faults["acme/models", "m.gguf"] = Fault(status=status, retry_after_s=0, times=3)
    assert fetch(store, "hf://acme/models/m.gguf").read_bytes() == CONTENT


def test_a_silent_hub_is_a_timeout(store: ModelStore, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch, read_timeout_s=0.1)
    hub.faults["acme/models", "m.gguf"] = Fault(hang=True)
    assert code_of(store, "hf://acme/models/m.gguf") == "pull_timeout"
    assert len(hub.requests) == 3


def test_an_unreachable_hub(store: ModelStore) -> None:
    for source in ("hf://acme/models/m.gguf", "hf://acme/models/sub/", "hf://acme/models"):
        refused = refusal(store, source)
        assert refused.code == "hub_unreachable"
        assert "HF_ENDPOINT" in refused.message


def test_a_hub_behind_a_wall(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes back: neither a connection nor a refusal."""
    monkeypatch.setattr("serve_app.models.transport.CONNECT_TIMEOUT_S", 0.1)
    with socket.socket() as wall, contextlib.ExitStack() as waiting:
        wall.bind(("127.0.0.1", 0))
        wall.listen(0)
        for _ in range(3):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(wall.getsockname())
        use_hub(monkeypatch, f"http://127.0.0.1:{wall.getsockname()[1]}", tmp_path / "cache")
        assert "no answer" in refusal(store, "hf://acme/models/m.gguf").message


def test_no_network_wanted(store: ModelStore, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch(store, "hf://acme/models/m.gguf")
    use_hub(monkeypatch, hub.url, tmp_path / "cache", offline=True)
    asked = len(hub.requests)
    assert fetch(store, "hf://acme/models/m.gguf") == path
    for source in ("hf://acme/models/sub/m.gguf", "hf://acme/models/sub/", "hf://acme/models", f"{hub.url}/m.gguf"):
        assert code_of(store, source) == "offline"
    assert code_of(store, "m.gguf") == "model_missing"
    assert len(hub.requests) == asked
