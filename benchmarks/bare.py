"""Engines without hal0, on the command lines that hal0's slots use: what every path is compared with."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.engines import HOST, Engine, files_of, placement_in
from benchmarks.load import Address
from benchmarks.sides import VOICE, Request, Side
from benchmarks.slots import COLD, INSTANT, STARTED_ANEW, SlotRecord
from benchmarks.speaking_direct import Direct as SpeakingDirectly
from benchmarks.speaking_direct import Job as SpeakingJob
from benchmarks.speaking_runs import Spoken
from benchmarks.speech_direct import Direct as HearingDirectly
from benchmarks.speech_runs import Effort, Runs
from providers.llamacpp.options import LlamaCppSlot
from providers.llamacpp.provider import LlamaCpp
from serve_app.audio.encode import Format

BARE, AGAIN = "bare engine", "bare engine again"


class BareEngines(Side):
    """One engine for every slot but those that every measurement starts anew; for what hears and speaks the libraries
    themselves, called directly."""

    def __init__(self, slots: Sequence[SlotRecord], voices: Sequence[SlotRecord], folder: Path) -> None:
        super().__init__(BARE)
        self._slots = {slot["name"]: slot for slot in slots}
        self._folder = folder
        self._running: dict[str, Engine] = {}
        hearing, speaking = voices
        self._hearing, self._speaking = HearingDirectly(hearing, folder), SpeakingDirectly(speaking)

    @contextmanager
    def running(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for name in self._slots:
                if name not in STARTED_ANEW:
                    self._running[name] = self._spawn(name)
                    stack.callback(self._running[name].stop)
            for engine in self._running.values():
                engine.wait_until_ready()
            stack.enter_context(self._hearing.running())
            stack.enter_context(self._speaking.running())
            yield

    def address(self, slot: str) -> Address:
        return self._running[slot].address

    def cold_start_s(self, request: Request) -> float:
        """From the engine's spawn."""
        return self._first_answer_s(COLD, request, lambda: None)

    def swap_s(self, request: Request, leaving: str, coming: str) -> float:
        """One engine is stopped, and then the other one is started."""
        old = self._spawn(leaving)
        try:
            old.wait_until_ready()
            request.first_byte_s(old.address, leaving)
        except BaseException:
            old.stop()
            raise
        return self._first_answer_s(coming, request, old.stop)

    def ingress_pids(self) -> list[int]:
        """Of the engine that is asked while connections are idle."""
        return [self._running[INSTANT].pid]

    def hear(self, sound: Path, effort: Effort) -> Runs:
        return self._hearing.hear(sound, effort)

    def speak(self, text: str, effort: Effort) -> Spoken:
        job = SpeakingJob(text=text, voice=VOICE, format=Format.PCM, at_once=False, effort=effort)
        return self._speaking.speak(job)

    def _first_answer_s(self, name: str, request: Request, before: Callable[[], None]) -> float:
        began = time.perf_counter()
        before()
        engine = self._spawn(name)
        try:
            engine.wait_until_ready()
            request.first_byte_s(engine.address, name)
            return time.perf_counter() - began
        finally:
            engine.stop()

    def _spawn(self, name: str) -> Engine:
        slot = LlamaCppSlot.model_validate(self._slots[name])
        placement = placement_in(self._folder)
        model = files_of(slot)
        provider = LlamaCpp()
        return Engine(
            provider.start_cmd(slot, model, placement).argv,
            provider.build_env(slot, model, placement),
            Address(HOST, placement.port, placement.token),
            self._folder / f"bare-{name}.log",
        )


class BareAgain(Side):
    """The bare engines once more, as if they were a path: what differs is the machine's noise."""

    def __init__(self, bare: BareEngines) -> None:
        super().__init__(AGAIN)
        self._bare = bare

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def address(self, slot: str) -> Address:
        return self._bare.address(slot)

    def cold_start_s(self, request: Request) -> float:
        return self._bare.cold_start_s(request)

    def swap_s(self, request: Request, leaving: str, coming: str) -> float:
        return self._bare.swap_s(request, leaving, coming)
