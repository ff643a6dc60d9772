"""Answers of a Hub as the real one gives them, and of what only stands where a Hub should be."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from providers.pulling import ModelUnavailable
from serve_app.models import ModelStore
from tests.support.hub_client import be_quick, slot, use_hub

CONTENT = b"gguf" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT_SHA1 = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
COMMIT = "c" * 40
LARGE = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": str(len(CONTENT))}


@dataclass
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        """By path and query."""
        self.tokens: dict[str, str | None] = {}
        """What was last sent to each path."""

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.tokens[self.path] = self.headers.get("Authorization")
        answer = self.server.answers.get(self.path, Answer(404))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "ETag" not in answer.headers or self.command == "GET":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        use_hub(monkeypatch, running.url(), tmp_path / "cache")
        be_quick(monkeypatch)
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_large_file_lies_elsewhere_and_the_token_stays(
    server: Server, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    onward = LARGE | {"Location": f"{server.url('localhost')}/signed/blob"}
    for revision in ("main", COMMIT):
        server.answers[f"/acme/models/resolve/{revision}/m.gguf"] = Answer(302, onward, b"Found")
    server.answers["/signed/blob"] = Answer(body=CONTENT)
    assert store.fetch(slot("hf://acme/models/m.gguf")).main.read_bytes() == CONTENT
    assert server.tokens == {
        "/acme/models/resolve/main/m.gguf": "Bearer hf_secret",
        f"/acme/models/resolve/{COMMIT}/m.gguf": "Bearer hf_secret",
        "/signed/blob": None,
    }


def test_a_repository_that_was_renamed(server: Server, store: ModelStore) -> None:
    for revision in ("main", COMMIT):
        server.answers[f"/old/models/resolve/{revision}/m.gguf"] = Answer(
            307, {"Location": f"/new/models/resolve/{revision}/m.gguf"}
        )
        server.answers[f"/new/models/resolve/{revision}/m.gguf"] = Answer(200, LARGE, CONTENT)
    assert store.fetch(slot("hf://old/models/m.gguf")).main.read_bytes() == CONTENT


@pytest.mark.parametrize(("etag", "right"), [(GIT_SHA1, True), ("d" * 40, False), ("other", True)])
def test_a_small_file_is_verified_by_its_name_in_git(server: Server, store: ModelStore, etag: str, right: bool) -> None:
    headers = {"X-Repo-Commit": COMMIT, "ETag": f'W/"{etag}"', "X-Linked-Size": str(len(CONTENT))}
    for revision in ("main", COMMIT):
        server.answers[f"/acme/models/resolve/{revision}/config.json"] = Answer(200, headers, CONTENT)
    if right:
        path = store.fetch(slot("hf://acme/models/config.json")).main
        assert (path.read_bytes(), path.resolve().name) == (CONTENT, etag)
        return
    with pytest.raises(ModelUnavailable) as refused:
        store.fetch(slot("hf://acme/models/config.json"))
    assert refused.value.code == "checksum_mismatch"


def listed(path: str, oid: str = GIT_SHA1) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(CONTENT), "oid": oid}


def serve_tree(server: Server, pages: list[list[dict[str, object]]]) -> None:
    api = "/api/models/acme/models"
    server.answers[f"{api}/revision/main"] = Answer(body=json.dumps({"sha": COMMIT}).encode())
    for number, page in enumerate(pages):
        address = f"{api}/tree/{COMMIT}?recursive=true" + (f"&cursor={number}" if number else "")
        following = f"{server.url()}{api}/tree/{COMMIT}?recursive=true&cursor={number + 1}"
        link = {"Link": f'<{following}>; rel="next"'} if number + 1 < len(pages) else {}
        server.answers[address] = Answer(200, link, json.dumps(page).encode())


def test_a_list_of_files_in_several_pages(server: Server, store: ModelStore) -> None:
    names = ["a.json", "sub/b.json", "c.json"]
    folder = {"type": "directory", "path": "sub", "oid": "e" * 40, "size": 0}
    serve_tree(server, [[listed(names[0]), folder], [listed(names[1])], [listed(names[2])]])
    for name in names:
        server.answers[f"/acme/models/resolve/{COMMIT}/{name}"] = Answer(body=CONTENT)
    snapshot = store.fetch(slot("hf://acme/models")).main
    assert {one.relative_to(snapshot).as_posix() for one in snapshot.rglob("*.json")} == set(names)


def test_a_folder_is_looked_for_on_every_page(server: Server, store: ModelStore) -> None:
    serve_tree(
        server, [[listed("sub.json")], [listed("other/a.json")], [listed("sub/b.json")], [listed("sub/c/d.json")]]
    )
    for name in ("sub/b.json", "sub/c/d.json"):
        server.answers[f"/acme/models/resolve/{COMMIT}/{name}"] = Answer(body=CONTENT)
    folder = store.fetch(slot("hf://acme/models/sub/")).main
    assert {one.relative_to(folder).as_posix() for one in folder.rglob("*.json")} == {"b.json", "c/d.json"}


def test_a_folder_that_only_a_newer_commit_has(server: Server, store: ModelStore) -> None:
    newer, api = "e" * 40, "/api/models/acme/models"
    serve_tree(server, [[listed("old/a.json")]])
    for commit, name in ((COMMIT, "old/a.json"), (newer, "new/a.json")):
        server.answers[f"/acme/models/resolve/{commit}/{name}"] = Answer(body=CONTENT)
    assert store.fetch(slot("hf://acme/models/old/")).main.parent.name == COMMIT
    server.answers[f"{api}/revision/{COMMIT}"] = server.answers[f"{api}/revision/main"]
    server.answers[f"{api}/revision/main"] = Answer(body=json.dumps({"sha": newer}).encode())
    server.answers[f"{api}/tree/{newer}?recursive=true"] = Answer(body=json.dumps([listed("new/a.json")]).encode())
    assert store.fetch(slot("hf://acme/models/new/")).main.parent.name == newer
    with pytest.raises(ModelUnavailable, match="no such folder") as refused:
        store.fetch(slot("hf://acme/models/never/"))
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize("entry", [listed("../../evil"), listed("/evil"), listed("m", "../evil"), {"type": "file"}])
def test_a_list_that_leads_out_of_the_cache(server: Server, store: ModelStore, entry: dict[str, object]) -> None:
    serve_tree(server, [[entry]])
    with pytest.raises(ModelUnavailable) as refused:
        store.fetch(slot("hf://acme/models"))
    assert refused.value.code == "hub_refused"


@pytest.mark.parametrize("source", ["hf://acme/models/m.gguf", "hf://acme/models/sub/", "hf://acme/models"])
def test_a_login_page_is_no_hub(server: Server, store: ModelStore, source: str) -> None:
    page = Answer(200, {}, b"<html>Welcome to our wireless network</html>")
    server.answers["/acme/models/resolve/main/m.gguf"] = page
    server.answers["/api/models/acme/models/revision/main"] = page
    with pytest.raises(ModelUnavailable, match="HF_ENDPOINT") as refused:
        store.fetch(slot(source))
    assert refused.value.code == "hub_refused"


def test_files_of_a_repository_stay_of_one_commit(server: Server, store: ModelStore) -> None:
    for revision in ("main", COMMIT):
        for file in ("m.gguf", "mmproj.gguf"):
            server.answers[f"/acme/models/resolve/{revision}/{file}"] = Answer(200, LARGE, CONTENT)
    first = store.fetch(slot("hf://acme/models/m.gguf")).main
    newer = LARGE | {"X-Repo-Commit": "e" * 40}
    for file in ("mmproj.gguf", "new.gguf"):
        server.answers[f"/acme/models/resolve/main/{file}"] = Answer(200, newer, CONTENT)
    assert store.fetch(slot("hf://acme/models/mmproj.gguf")).main.parent == first.parent
    # The commit that is here does not have it.
    assert store.fetch(slot("hf://acme/models/new.gguf")).main.parent.name == "e" * 40
