"""The models in memory: one for chat, which requests may change, one for sounds and one for embeddings."""

import time
from dataclasses import dataclass, field
from threading import Lock

from tests.emulators.flm import faults, folder, settings
from tests.emulators.flm.catalogue import ASR, EMBED, FALLBACK, NO_MODEL, Catalogue, Model
from tests.emulators.flm.console import Colour, say
from tests.emulators.flm.crash import crash, end
from tests.emulators.flm.faults import Fault
from tests.emulators.flm.pulling import pull

SWAP_S = 0.5
ASKED_S = 0.05
LEAST_CONTEXT = 512
NO_CONTEXT = "DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err=-22): Invalid argument"
NO_MEMORY = "mmap(len=67108864) failed (err=-11): Resource temporarily unavailable"


class LoadFailed(Exception):
    """The message is what the driver says."""


@dataclass(slots=True)
class Loaded:
    catalogue: Catalogue
    context_length: int
    """-1 for the model's own."""
    current: str = NO_MODEL
    """As requests name it: one that names the same model otherwise has it loaded again."""
    _lock: Lock = field(default_factory=Lock)

    @property
    def model(self) -> Model | None:
        return self.catalogue.find(self.current)

    @property
    def context(self) -> int:
        """Tokens that fit."""
        if self.context_length != -1:
            return max(self.context_length, LEAST_CONTEXT)
        return self.model.number("default_context_length") if self.model else LEAST_CONTEXT

    def load_role(self, tag: str, role: str) -> None:
        """`whisper-v3:turbo` or `embed-gemma:300m`; the program ends with 1 if it cannot."""
        model = self._known(tag)
        try:
            _load(model)
        except LoadFailed as error:
            say("ERROR", f"Failed to load {role} model: {error}")
            end(1)

    def ensure(self, tag: str) -> bool:
        """Loads what is named unless it is the current one; False, and nothing loaded, if it cannot."""
        with self._lock:
            if tag == self.current and tag != NO_MODEL:
                return True
            time.sleep(settings.paced(SWAP_S))
            model = self._speaking(tag)
            try:
                _load(model, broken=faults.has(Fault.BROKEN_MODELS))
            except LoadFailed as error:
                say("ERROR", f"Failed to load model: {error}")
                self.current = NO_MODEL
                return False
            self.current = model.tag
            return True

    def _speaking(self, tag: str) -> Model:
        model = self.catalogue.find(tag)
        if model is None:
            say("ERROR", f"Model tag '{tag}' is not supported. Please check the model list.", Colour.RED)
        elif not model.speaks:
            say("ERROR", f'Unsupported model family or non-llm: "{model.details["family"]}"', Colour.RED)
        else:
            return model
        return self._known(FALLBACK)

    def _known(self, tag: str) -> Model:
        model = self.catalogue.find(tag)
        if model is None:
            raise KeyError(f"the model list has no {tag}")
        return model


ROLES = {"asr": (ASR, "ASR"), "embed": (EMBED, "embedding")}


def _load(model: Model, broken: bool = False) -> None:
    """Raises `LoadFailed`."""
    if not folder.is_installed(model):
        # What comes of it does not matter to the real program either.
        pull(model, force=False)
    path = folder.path(model)
    say("FLM", f"Loading model: {path}")
    if folder.missing(model):
        raise LoadFailed(f"Failed to open file: {path / folder.missing(model)[0]}")
    while faults.has(Fault.HANG_AT_LOAD):
        time.sleep(ASKED_S)
    if faults.has(Fault.CRASH_AT_LOAD):
        crash("terminate called after throwing an instance of 'xrt_core::system_error'")
    time.sleep(settings.load_s())
    if broken or faults.has(Fault.NPU_BUSY):
        raise LoadFailed(NO_CONTEXT)
    if faults.has(Fault.MEMLOCK_LOW):
        raise LoadFailed(NO_MEMORY)
