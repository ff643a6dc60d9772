"""A local stand-in for the Hugging Face Hub: enough of its HTTP API for `huggingface_hub` to list and download files.

It offers no xet hashes, so that clients take plain HTTP.
"""

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.support.hub_contents import File, Refusal, Repo, info, load, tree
from tests.support.hub_faults import Fault, struck_body

__all__ = ["Fault", "Hub"]

MAIN = "main"
_ROUTES = (
    re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)"),
    re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?P<tree>/.*)?"),
    re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?"),
)


class Hub:
    """Serves `{"org/repo": {"file": path}}` on a free loopback port while it is entered.

    `tokens` names the repos that demand a bearer token. Files must not change while it runs.
    """

    def __init__(
        self, repos: Mapping[str, Mapping[str, Path]], tokens: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.faults: dict[tuple[str, str], Fault] = {}
        """By repo and file; may be changed at any time."""
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and Range header of every request, in order of arrival."""
        self.closing = threading.Event()
        self._repos = {name: load(name, files, tokens.get(name)) for name, files in repos.items()}
        self._served: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="hub")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """What to put in HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def commit(self, repo: str) -> str:
        """The hash of the repo's only commit, which `main` names."""
        return self._repos[repo].commit

    def bytes_served(self, repo: str, file: str) -> int:
        """Bytes of the file's content that were sent, all requests together."""
        with self._lock:
            return self._served[repo, file]

    def downloads(self, repo: str, file: str) -> int:
        """GET requests for the file, refused ones included."""
        path = re.compile(rf"/{re.escape(repo)}/resolve/[^/]+/{re.escape(file)}")
        return sum(method == "GET" and path.fullmatch(target) is not None for method, target, _ in self.requests)

    def find(self, name: str, revision: str | None, token: str | None) -> Repo:
        """The repo at a revision, for a client with this token; refuses as the Hub does."""
        repo = self._repos.get(name)
        if repo is None:
            # The Hub tells strangers neither that a repo is missing nor that it is private. The code is for clients:
            # over https `huggingface_hub` needs none to take this 401 for a missing repo, over http it does.
            raise Refusal(401 if token is None else 404, "RepoNotFound", "Invalid username or password.")
        if repo.token is not None and token is None:
            raise Refusal(401, "GatedRepo", f"Access to model {name} is restricted. Please log in.")
        if repo.token not in (None, token):
            raise Refusal(401, message="Invalid credentials in Authorization header")
        if revision not in (None, MAIN, repo.commit):
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo

    def strike(self, repo: str, file: str, method: str) -> Fault:
        """The fault of this request; one that is counted is used up by it."""
        with self._lock:
            fault = self.faults.get((repo, file))
            if fault is None or fault.times == 0 or (fault.needs_body and method != "GET"):
                return Fault()
            if fault.times is not None:
                fault.times -= 1
            return fault

    def count(self, repo: str, file: str, size: int) -> None:
        with self._lock:
            self._served[repo, file] += size


class _Server(ThreadingHTTPServer):
    # Joined by server_close, so that no handler outlives the hub.
    daemon_threads = False

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet: a client may leave at any time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.hub.requests.append((self.command, path, self.headers.get("Range")))
        try:
            match = next((match for route in _ROUTES if (match := route.fullmatch(path))), None)
            if match is None:
                raise Refusal(404, message=f"this hub has no {path}")
            self._dispatch(match.groupdict())
        except Refusal as refusal:
            self._send(refusal.status, b"", refusal.headers)

    def _dispatch(self, asked: dict[str, str | None]) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        name, revision = asked["repo"] or "", asked.get("revision")
        if asked.get("file"):
            self._send_file(name, revision, asked["file"] or "", token or None)
            return
        repo = self.server.hub.find(name, revision, token or None)
        self._send_json(tree(repo) if "tree" in asked else info(repo))

    def _send_file(self, name: str, revision: str | None, file: str, token: str | None) -> None:
        hub = self.server.hub
        fault = hub.strike(name, file, self.command)
        if fault.hang:
            hub.closing.wait()
            self.close_connection = True
            return
        if fault.status is not None:
            retry = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            code = "EntryNotFound" if fault.status == HTTPStatus.NOT_FOUND else ""
            raise Refusal(fault.status, code, HTTPStatus(fault.status).phrase, **retry)
        repo = hub.find(name, revision, token)
        found = repo.files.get(file)
        if found is None:
            raise Refusal(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": repo.commit})
        self._send_content(repo, file, found, fault)

    def _send_content(self, repo: Repo, file: str, found: File, fault: Fault) -> None:
        etag = f'"{found.sha256}"'
        whole = fault.ignores_range or self.headers.get("If-Range", etag) != etag
        start, stop = _range(None if whole else self.headers.get("Range"), found.size)
        partial = (start, stop) != (0, found.size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(stop - start))
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{found.size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("X-Linked-Etag", etag)
        self.send_header("X-Linked-Size", str(found.size))
        self.send_header("X-Repo-Commit", repo.commit)
        self.end_headers()
        if self.command == "GET":
            sent = 0
            for chunk in struck_body(found.path, start, stop, fault, self.server.hub.closing):
                self.wfile.write(chunk)
                self.server.hub.count(repo.name, file, len(chunk))
                sent += len(chunk)
            self.close_connection = sent < stop - start

    def _send_json(self, value: object) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _range(header: str | None, size: int) -> tuple[int, int]:
    """The part of a file that a Range header asks for, as start and stop."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    if match is None:
        return 0, size
    start, stop = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
    if start >= size:
        raise Refusal(416, message="Range Not Satisfiable", **{"Content-Range": f"bytes */{size}"})
    return start, stop
