"""What is compared: a side answers the cases' requests; the bare engine is one, every path to it another."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import speaking_client, speech_client
from benchmarks.load import Address, first_byte_s
from benchmarks.speaking_runs import Spoken
from benchmarks.speech_runs import Effort, Runs
from benchmarks.voice_slots import HEARING, SPEAKING
from serve_app.audio.encode import Format

INGRESS_ROLES = frozenset({"ingress", "Serve's proxy", "HAProxy"})
"""Processes that have a client's connection, or one for it."""
TIMEOUT_S = 60.0
VOICE = "af_heart"


@dataclass(frozen=True, slots=True)
class Request:
    """A JSON body for any slot, and where it goes."""

    path: str
    body: Mapping[str, Any]

    def to(self, slot: str) -> dict[str, Any]:
        return {"model": slot, **self.body}

    def first_byte_s(self, address: Address, slot: str) -> float:
        """Seconds until the answer begins. Raises `LoadError`."""
        return first_byte_s(address, self.path, self.to(slot), TIMEOUT_S)


class Side(ABC):
    """Each measurement raises `LoadError` for an answer that is none. A side need only do what the cases that it is
    chosen for ask of it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def running(self) -> AbstractContextManager[None]: ...

    @abstractmethod
    def address(self, slot: str) -> Address: ...

    def cold_start_s(self, request: Request) -> float:
        """Seconds from a request for a slot that is not loaded to the first byte of its answer."""
        raise NotImplementedError(self.name)

    def swap_s(self, request: Request, leaving: str, coming: str) -> float:
        """As `cold_start_s`, while another slot has the place that this one needs."""
        raise NotImplementedError(self.name)

    def ingress_pids(self) -> Sequence[int]:
        """Of the processes that hold clients' connections."""
        raise NotImplementedError(self.name)

    def hear(self, sound: Path, effort: Effort) -> Runs:
        return speech_client.hear(self.address(HEARING), HEARING, sound, effort)

    def speak(self, text: str, effort: Effort) -> Spoken:
        request = speaking_client.request_of(SPEAKING, VOICE, text, Format.PCM)
        return speaking_client.speak(self.address(SPEAKING), request, effort)
