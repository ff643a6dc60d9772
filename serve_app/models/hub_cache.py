"""One repository in the Hub's cache on this node, in huggingface-hub's own layout, which other tools read and write:

`refs/<revision>` has a commit, `snapshots/<commit>/<file>` is a link to `blobs/<etag>`, and `trees/<commit>.json` lists
the files of a commit.
"""

import json
import os
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}")
TREE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of a commit as the Hub lists it. `size` in bytes; the etag names its content."""

    path: str
    size: int
    blob_id: str
    sha256: str | None

    @property
    def etag(self) -> str:
        return self.sha256 or self.blob_id


@dataclass(frozen=True, slots=True)
class HubCache:
    root: Path
    repo: str

    @classmethod
    def of(cls, repo: str) -> "HubCache":
        from huggingface_hub import constants

        return cls(Path(constants.HF_HUB_CACHE), repo)

    @property
    def folder(self) -> Path:
        return self.root / f"models--{self.repo.replace('/', '--')}"

    def blob(self, etag: str) -> Path:
        return self.folder / "blobs" / etag

    def lock(self, etag: str) -> Path:
        return self.root / ".locks" / self.folder.name / f"{etag}.lock"

    def commit(self, revision: str) -> str | None:
        """The commit that a revision named when it was last asked for."""
        if COMMIT.fullmatch(revision):
            return revision
        try:
            return (self.folder / "refs" / revision).read_text().strip()
        except OSError:
            return None

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def file(self, revision: str, file: str) -> Path | None:
        commit = self.commit(revision)
        path = self.snapshot(commit) / file if commit else None
        return path if path and path.is_file() else None

    def whole(self, revision: str, folder: str) -> Path | None:
        """A folder of the snapshot, if it is known to have every file of its commit there.

        `folder` is relative to the snapshot and ends in a slash; empty: the whole snapshot.
        """
        commit = self.commit(revision)
        if commit is None:
            return None
        snapshot = self.snapshot(commit)
        files = [file for file in self._tree(commit) if file.startswith(folder)]
        return snapshot / folder if files and all((snapshot / file).is_file() for file in files) else None

    def link(self, revision: str, commit: str, file: str, etag: str) -> None:
        """Give a blob its name in a snapshot, and the snapshot's commit to the revision."""
        pointer = self.snapshot(commit) / file
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if not pointer.exists():
            new = pointer.with_name(f".{uuid.uuid4().hex}.new")
            new.symlink_to(os.path.relpath(self.blob(etag), pointer.parent))
            os.replace(new, pointer)
        self.name(revision, commit)

    def name(self, revision: str, commit: str) -> None:
        """A revision names a commit from now on."""
        if commit not in (revision, self.commit(revision)):
            _replace(self.folder / "refs" / revision, commit)

    def write_tree(self, commit: str, files: Iterable[TreeFile]) -> None:
        listed = {
            one.path: {"size": one.size, "blob_id": one.blob_id}
            | ({"lfs_sha256": one.sha256, "lfs_size": one.size} if one.sha256 else {})
            for one in files
        }
        _replace(self.folder / "trees" / f"{commit}.json", json.dumps({"format_version": TREE_FORMAT, "files": listed}))

    def _tree(self, commit: str) -> list[str]:
        """The files of a commit; empty if they are not known."""
        try:
            tree = json.loads((self.folder / "trees" / f"{commit}.json").read_bytes())
            return list(tree["files"]) if tree["format_version"] == TREE_FORMAT else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def tidy(self) -> None:
        """Remove what leads nowhere once files have gone: a scan of the cache trips over it."""
        snapshots = self.folder / "snapshots"
        for folder in sorted(snapshots.glob("**/"), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        kept = {one.name for one in snapshots.iterdir()} if snapshots.is_dir() else set()
        for ref in (self.folder / "refs").glob("**/*"):
            if ref.is_file() and ref.read_text().strip() not in kept:
                ref.unlink()
        for tree in (self.folder / "trees").glob("*.json"):
            if tree.stem not in kept:
                tree.unlink()
        for folder in sorted(self.folder.glob("**/"), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _replace(path: Path, text: str) -> None:
    """Readers see the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)
