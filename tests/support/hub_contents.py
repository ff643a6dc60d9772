"""What a stand-in Hub holds: repos with one commit each, and the answers that describe them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class File:
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Repo:
    name: str
    files: Mapping[str, File]
    commit: str
    token: str | None


class Refusal(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        super().__init__(status, code, message)
        self.status, self.headers = status, headers
        if code:
            self.headers["X-Error-Code"] = code
        if message:
            self.headers["X-Error-Message"] = message


def load(name: str, files: Mapping[str, Path], token: str | None) -> Repo:
    known = {}
    for file, path in sorted(files.items()):
        with path.open("rb") as content:
            known[file] = File(path, path.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest())
    commit = hashlib.sha1(repr([(file, one.sha256) for file, one in known.items()]).encode()).hexdigest()
    return Repo(name, known, commit, token)


def info(repo: Repo) -> dict[str, object]:
    siblings = [{"rfilename": file, "size": found.size} for file, found in repo.files.items()]
    gated = "manual" if repo.token else False
    return {"id": repo.name, "modelId": repo.name, "sha": repo.commit, "private": False, "gated": gated} | {
        "siblings": siblings,
        "tags": [],
    }


def tree(repo: Repo) -> list[dict[str, object]]:
    """All files at any depth, whatever folder was asked for: downloads need no more."""
    return [
        {
            "type": "file",
            "path": file,
            "size": found.size,
            "oid": found.sha256[:40],
            "lfs": {"oid": found.sha256, "size": found.size, "pointerSize": 134},
        }
        for file, found in repo.files.items()
    ]
