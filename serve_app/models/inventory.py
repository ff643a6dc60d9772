"""What is stored on this node: files of the Hub's cache, downloads by URL, local files, and what came only in part."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from providers.pulling import ModelUnavailable
from serve_app.models.hub import MAIN, HubPlace
from serve_app.models.hub import PARTIAL as HUB_PARTIAL
from serve_app.models.hub_cache import HubCache
from serve_app.models.locks import take
from serve_app.models.partial import RECORD, Partial
from serve_app.models.urls import FOLDER as URLS
from serve_app.models.urls import PARTIAL as URL_PARTIAL
from serve_app.models.urls import SOURCE, lock_of


class NotRemovable(Exception):
    """Something stored has to stay, for the reason in the message."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One file. `source` is what a slot's `model` would say; sizes are in bytes."""

    source: str
    path: Path
    """What a slot that names the source would use."""
    size: int
    remove: Callable[[], None]
    """Raises `NotRemovable`."""
    partial: bool = False
    total: int | None = None
    """What a partial file will have, if that is known."""

    def belongs_to(self, source: str) -> bool:
        """Whether it is what `source` names, or a part of that."""
        named = canonical(source)
        return self.source == named or self.source.startswith(f"{named.rstrip('/')}/")


def stored(folder: Path) -> list[Stored]:
    """Everything, by source; `folder` is the model store's."""
    found = [*_hub_files(), *_hub_partials(), *_url_files(folder / URLS), *_local_files(folder)]
    return sorted(found, key=lambda one: (one.source, one.partial))


def canonical(source: str) -> str:
    """The one way to write a source that can be written in several."""
    if source.startswith("hf://"):
        try:
            place = HubPlace.of(source)
        except ModelUnavailable:
            return source
        return _hub_source(place.repo, place.revision, place.path).rstrip("/")
    return source.removeprefix("file://")


def _hub_source(repo: str, revision: str, file: str) -> str:
    return f"hf://{repo}{'' if revision == MAIN else f'@{revision}'}/{file}"


def _hub_root() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _hub_files() -> Iterator[Stored]:
    from huggingface_hub import scan_cache_dir

    if not _hub_root().is_dir():
        return
    for repo in scan_cache_dir(_hub_root()).repos:
        for commit in repo.revisions if repo.repo_type == "model" else ():
            revision = MAIN if MAIN in commit.refs else min(commit.refs, default=commit.commit_hash)
            for file in commit.files:
                name = file.file_path.relative_to(commit.snapshot_path).as_posix()
                path = HubCache(_hub_root(), repo.repo_id).snapshot(commit.commit_hash) / name
                source = _hub_source(repo.repo_id, revision, name)
                yield Stored(source, path, file.size_on_disk, _removal_from_hub(repo.repo_id, file.file_path))


def _removal_from_hub(repo: str, path: Path) -> Callable[[], None]:
    """The library's own: it knows which blobs others still need."""

    def remove() -> None:
        from huggingface_hub import scan_cache_dir

        cache = scan_cache_dir(_hub_root())
        files = [
            file
            for one in cache.repos
            for revision in one.revisions
            for file in revision.files
            if file.file_path == path
        ]
        cache.delete_files(*files).execute()
        HubCache(_hub_root(), repo).tidy()

    return remove


def _hub_partials() -> Iterator[Stored]:
    for path in _hub_root().glob(f"models--*/blobs/*{HUB_PARTIAL}"):
        repo = path.parents[1].name.removeprefix("models--").replace("--", "/")
        cache = HubCache(_hub_root(), repo)
        yield _partial(path, cache.lock(path.name.split(".")[0]), cache.tidy)


def _url_files(root: Path) -> Iterator[Stored]:
    for path in root.glob("*/*"):
        folder = path.parent
        note = folder.with_suffix(SOURCE)
        if path.name.endswith(URL_PARTIAL):
            yield _partial(path, lock_of(folder), lambda folder=folder: _remove_if_empty(folder))  # type: ignore[misc]
        elif not path.name.endswith((RECORD, ".new")):
            source = note.read_text(encoding="utf-8") if note.exists() else f"{URLS}/{folder.name}/{path.name}"
            yield Stored(source, path, path.stat().st_size, _removal(path, folder.parent, note))


def _local_files(folder: Path) -> Iterator[Stored]:
    for path in folder.rglob("*"):
        source = path.relative_to(folder)
        if path.is_file() and source.parts[0] != URLS:
            yield Stored(source.as_posix(), path, path.stat().st_size, _removal(path, folder))


def _removal(path: Path, root: Path, *notes: Path) -> Callable[[], None]:
    def remove() -> None:
        for one in (path, *notes):
            one.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == root or not _remove_if_empty(folder):
                break

    return remove


def _partial(path: Path, lock: Path, afterwards: Callable[[], object]) -> Stored:
    partial = Partial(path)
    record = partial.record()
    source = canonical(record.source) if record else str(path)

    def remove() -> None:
        held = take(lock)
        if held is None:
            raise NotRemovable(f"'{source}' is being pulled now")
        partial.remove()
        lock.unlink(missing_ok=True)
        os.close(held)
        afterwards()

    return Stored(source, path, partial.size, remove, partial=True, total=record.size if record else None)


def _remove_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
