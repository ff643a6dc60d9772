"""The store: what a slot names, found on the disk or brought there."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from providers.base import ModelFiles
from providers.pulling import ModelUnavailable, OwnModels, PullProgress
from providers.registry import PROVIDERS
from providers.spec import SlotSpec
from serve_app.machine import this_node
from serve_app.models.hub import HubPlace
from serve_app.models.local import LocalPlace
from serve_app.models.place import Place
from serve_app.models.progress import Meter
from serve_app.models.urls import FOLDER as URLS
from serve_app.models.urls import UrlPlace

if TYPE_CHECKING:
    from serve_app.models.remote import Remote


@dataclass(frozen=True, slots=True)
class ModelStore:
    """`folder` is the base of relative paths and holds what came by URL. What came from the Hub is in its own cache."""

    folder: Path

    def present(self, slot: SlotSpec) -> bool:
        """Whether the slot's files lie on disk, so that nothing needs pulling. Cheap, and without the network."""
        if (own := _own(slot)) is not None:
            return own.present()
        try:
            return all(self.place(source).local() is not None for source in sources_of(slot))
        except ModelUnavailable:
            return False

    def fetch(
        self,
        slot: SlotSpec,
        on_progress: Callable[[PullProgress], None] | None = None,
        cancelled: Event | None = None,
    ) -> ModelFiles:
        """The slot's files, pulled where they are missing. What is here is used as it is: nobody is asked for newer.

        Blocks; raises `ModelUnavailable`, and `PullCancelled` within a second after `cancelled` was set.
        """
        if (own := _own(slot)) is not None:
            return own.fetch(on_progress, cancelled or Event())
        places = [self.place(source) for source in sources_of(slot)]
        missing = [place for place in places if place.local() is None]
        if missing:
            _pull(missing, Meter(on_progress), cancelled or Event())
        companions = {role: self._found(source) for role, source in slot.companions.items()}
        return ModelFiles(main=self._found(slot.model), companions=companions)

    def place(self, source: str) -> Place:
        """Raises `ModelUnavailable` for a source of no form."""
        if source.startswith("hf://"):
            return HubPlace.of(source)
        if source.startswith(("http://", "https://")):
            return UrlPlace.of(source, self.urls)
        return LocalPlace(source, self.folder / Path(source.removeprefix("file://")).expanduser())

    @property
    def urls(self) -> Path:
        return self.folder / URLS

    def _found(self, source: str) -> Path:
        path = self.place(source).local()
        if path is None:
            raise ModelUnavailable("model_missing", f"'{source}' was removed as soon as it was here.")
        return path


def _own(slot: SlotSpec) -> OwnModels | None:
    one = PROVIDERS.get(slot.provider)
    return one.own_models(slot, this_node(one)) if one is not None else None


def sources_of(slot: SlotSpec) -> list[str]:
    return list(dict.fromkeys((slot.model, *slot.companions.values())))


def _pull(places: Sequence[Place], meter: Meter, cancelled: Event) -> None:
    from serve_app.models.download import pull
    from serve_app.models.transport import Transport

    with Transport(cancelled, meter.tick) as transport:
        # A file that cannot be had by any pull is told before the first byte of the others.
        remotes: list[Remote] = []
        for place in sorted(places, key=lambda one: one.remote):
            _require_network(place)
            remotes += place.missing(transport)
        for remote in remotes:
            meter.expect(remote.name, remote.size)
        _require_space(remotes)
        for remote in remotes:
            pull(remote, transport, meter, cancelled)
    meter.finish()


def _require_network(place: Place) -> None:
    from huggingface_hub import constants

    if place.remote and constants.HF_HUB_OFFLINE:
        raise ModelUnavailable(
            "offline",
            f"'{place.source}' is not on this node, and HF_HUB_OFFLINE forbids to fetch it. Run `hal0 pull` while "
            "there is a network, unset HF_HUB_OFFLINE, or give the slot a local path.",
        )


def _require_space(remotes: "Sequence[Remote]") -> None:
    """All files at once: half a slot is of no use."""
    from serve_app.models.room import require_space

    needed: dict[int, int] = defaultdict(int)
    folders: dict[int, Path] = {}
    for remote in {remote.target: remote for remote in remotes if not remote.target.exists()}.values():
        folder = next(one for one in remote.target.parents if one.is_dir())
        device = folder.stat().st_dev
        folders[device] = folder
        needed[device] += max(0, (remote.size or 0) - remote.partial.size)
    for device, size in needed.items():
        require_space(folders[device], size, ", ".join(sorted({f"'{remote.source}'" for remote in remotes})))
