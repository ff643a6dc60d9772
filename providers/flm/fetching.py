"""One fetch of a slot's models: what is here is verified, what is missing is pulled."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from pathlib import Path
from threading import Event, get_native_id

from providers.base import Node
from providers.errors import ProviderError
from providers.flm import unavailable
from providers.flm.asking import GivenUp, ask
from providers.flm.command import program_command, program_environment
from providers.flm.configurations import is_broken, is_new, unreadable
from providers.flm.following import follow
from providers.flm.listing import ListedModel, parsed_listing
from providers.flm.model_lock import turn, turn_if_free
from providers.flm.options import FlmSlot
from providers.flm.pull_meter import PullMeter
from providers.flm.pull_output import PullOutput
from providers.flm.pull_watch import PullWatch, bytes_in
from providers.flm.records import Records
from providers.pulling import ModelUnavailable, PullCancelled, PullProgress

LIST_S = 30.0
CONTAINER_LIST_S = 600.0
"""Its image may have to be fetched first."""
RETRY_S = 0.5


class _Verdict(Enum):
    GOOD = auto()
    BROKEN = auto()
    """What was broken has been removed."""
    UNKNOWN = auto()
    """There is no network to compare with."""


class Fetching:
    def __init__(
        self,
        slot: FlmSlot,
        node: Node,
        records: Records,
        tags: Sequence[str],
        on_progress: Callable[[PullProgress], None] | None,
        cancelled: Event,
    ) -> None:
        self._slot, self._node, self._records, self._tags, self._cancelled = slot, node, records, tags, cancelled
        self._report = on_progress
        self._meter = PullMeter(on_progress, dict.fromkeys(tags, 0))

    def run(self) -> dict[str, Path]:
        """The models' folders, by tag. Raises `ModelUnavailable` and `PullCancelled`."""
        try:
            return self._run()
        except ProviderError as error:
            raise ModelUnavailable("flm_missing", str(error)) from error
        except GivenUp:
            raise PullCancelled from None
        except OSError as error:
            raise unavailable.unwritable(error) from error

    def _run(self) -> dict[str, Path]:
        folders: dict[str, Path] = {}
        missing = [tag for tag in self._tags if self._records.good(tag) is None]
        for tag in missing:
            with turn_if_free(self._records.lock(tag)) as held:
                if held:
                    self._mend(tag)
        listed = self._listing()
        for tag in missing:
            if tag not in listed:
                raise unavailable.unknown(tag, listed)
        estimates = {tag: listed[tag].estimated_bytes if tag in listed else 0 for tag in self._tags}
        self._meter = PullMeter(self._report, estimates)
        for tag in sorted(self._tags, key=missing.__contains__):
            with turn(self._records.lock(tag), self._cancelled, partial(self._meter.waiting, tag)) as lock:
                folders[tag] = self._records.good(tag) or self._fetched(tag, lock)
            self._meter.here(tag, bytes_in(folders[tag]))
        self._meter.tell()
        return folders

    def _fetched(self, tag: str, lock: int) -> Path:
        self._mend(tag)
        model = self._listing().get(tag)
        if model is None:
            raise unavailable.unknown(tag, ())
        if model.installed:
            verdict = self._verdict(tag, lock)
            if verdict is _Verdict.GOOD:
                return self._believed(model, model.folder)
            if verdict is _Verdict.UNKNOWN:
                return self._unverified(model)
        return self._pulled(model, lock)

    def _unverified(self, model: ListedModel) -> Path:
        """A model that somebody put here is used without a network, too, and verified when there is one."""
        folder = self._records.models / model.folder
        if self._records.unfinished(model.tag) is not None:
            raise unavailable.offline(model.tag)
        if not model.folder or not folder.is_dir():
            raise unavailable.misplaced(model.tag, folder)
        return folder

    def _pulled(self, model: ListedModel, lock: int) -> Path:
        tag = model.tag
        if self._slot.options.container is None:
            # Docker writes as root, where this process may not.
            unavailable.require_writable(self._records.models)
        self._records.begin(tag, model.folder)
        output = PullOutput()
        code = self._follow("pull", tag, lock, output, PullWatch(tag, output, self._records.models, self._meter).look)
        listed = self._listing().get(tag)
        if listed is None or not listed.installed or code != 0:
            raise unavailable.not_pulled(tag, output)
        if not output.pulled and self._verdict(tag, lock) is not _Verdict.GOOD:
            raise unavailable.not_pulled(tag, output)
        return self._believed(listed, output.folder or model.folder)

    def _believed(self, model: ListedModel, folder: str) -> Path:
        path = self._records.models / folder
        if not folder or not model.files or not all((path / file).is_file() for file in model.files):
            raise unavailable.misplaced(model.tag, path)
        self._records.verified(model.tag, folder, model.files)
        return path

    def _verdict(self, tag: str, lock: int) -> _Verdict:
        output = PullOutput()
        self._follow("check", tag, lock, output, lambda: self._meter.pulling(tag, output, 0))
        if output.checked:
            return _Verdict.GOOD
        return _Verdict.UNKNOWN if output.unchecked else _Verdict.BROKEN

    def _follow(self, word: str, tag: str, lock: int, output: PullOutput, look: Callable[[], None]) -> int:
        command = program_command(self._slot, self._node, (word, tag), self._container_name(word))

        def heard(piece: bytes) -> None:
            output.feed(piece)
            look()

        code = follow(command, program_environment(self._slot, self._node), heard, self._cancelled, lock)
        output.finish()
        return code

    def _listing(self) -> Mapping[str, ListedModel]:
        while True:
            try:
                return self._listing_once()
            except ModelUnavailable as failure:
                # The program stumbles over a file that another pull has begun to write.
                if failure.code != "flm_failed" or not any(map(is_new, unreadable(self._records.models))):
                    raise
            if self._cancelled.wait(RETRY_S):
                raise PullCancelled

    def _listing_once(self) -> Mapping[str, ListedModel]:
        container = self._slot.options.container
        command = program_command(self._slot, self._node, ("list", "--json"), self._container_name("list"))
        if container is not None:
            # Docker would make it, as root.
            self._records.models.mkdir(parents=True, exist_ok=True)
        limit_s = LIST_S if container is None else CONTAINER_LIST_S
        try:
            said = ask(command, program_environment(self._slot, self._node), limit_s, self._cancelled)
        except TimeoutError as error:
            raise ModelUnavailable(
                "flm_failed", f"`flm list` gave no answer within {limit_s:g} s; see what it does by hand."
            ) from error
        except OSError as error:
            raise unavailable.no_program(self._slot, command, error) from error
        try:
            return parsed_listing(said.output)
        except ValueError as error:
            raise unavailable.no_listing(said, unreadable(self._records.models)) from error

    def _container_name(self, word: str) -> str:
        """No other's on this node, nor that of one that a killed process left."""
        return f"hal0-{self._slot.name}-{word}-{get_native_id()}"

    def _mend(self, tag: str) -> None:
        """A pull that was killed may leave a part of config.json, on which every command of the program would fail."""
        folder = self._records.unfinished(tag)
        if folder is not None and is_broken(folder / "config.json"):
            with contextlib.suppress(FileNotFoundError):
                (folder / "config.json").unlink()
