"""The library called directly: `python -m benchmarks.speech_direct SLOT.json CACHE` loads a slot's model.

It takes jobs on stdin and answers on stdout, a JSON line each. One process, no server: it decodes a file, finds its
speech as the slot's options say and recognizes it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from benchmarks.engines import placement_in
from benchmarks.slots import SlotRecord
from benchmarks.speech_live import CHUNK_S, SILENCE_MS, LiveRun, Shown
from benchmarks.speech_runs import Effort, Runs, Work, repeat
from providers.asr.cutting import BlockCutter, Cutter, Piece
from providers.asr.hearing import Hearing
from providers.asr.live import LiveSession
from providers.asr.messages import Committed, Event, Failed, Final, Partial, Start, TurnDetection
from providers.asr.options import AsrOptions
from providers.asr.recognizer import SAMPLE_RATE, Asked, Recognizer, Samples, Segment
from providers.asr.text import joined
from providers.asr.utterances import UtteranceCutter
from providers.asr.voice import VoiceDetector, detectors
from providers.base import ModelFiles
from providers.spec import Frozen
from serve_app.audio.realtime_transcript import GrowingText

READY = "ready"
PIECE_SAMPLES = SAMPLE_RATE
"""Heard at a time."""


class FileJob(Frozen):
    kind: Literal["file"] = "file"
    path: Path
    effort: Effort


class LiveJob(Frozen):
    """`path`: signed 16-bit samples without a head, spoken at the speed of time."""

    kind: Literal["live"] = "live"
    path: Path


Job = Annotated[FileJob | LiveJob, Field(discriminator="kind")]
JOB: TypeAdapter[Job] = TypeAdapter(Job)


class Direct:
    """The child process of one slot."""

    def __init__(self, slot: SlotRecord, folder: Path) -> None:
        self._folder = folder / f"direct-{slot['name']}"
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "slot.json").write_text(json.dumps(slot))
        self._popen: subprocess.Popen[str] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        with (self._folder / "log").open("wb") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.speech_direct", str(self._folder / "slot.json"), str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            with self._popen:
                assert self._popen.stdin is not None
                try:
                    self._line()
                    yield
                finally:
                    self._popen.stdin.close()

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def hear(self, path: Path, effort: Effort) -> Runs:
        return Runs.model_validate_json(self._asked(FileJob(path=path, effort=effort)))

    def listen(self, path: Path) -> LiveRun:
        return LiveRun.model_validate_json(self._asked(LiveJob(path=path)))

    def _asked(self, job: FileJob | LiveJob) -> str:
        assert self._popen is not None and self._popen.stdin is not None
        print(job.model_dump_json(), file=self._popen.stdin, flush=True)
        return self._line()

    def _line(self) -> str:
        assert self._popen is not None and self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise RuntimeError(f"the library ended: {(self._folder / 'log').read_text(errors='replace')[-2000:]}")
        return line


class Library:
    """One loaded model."""

    def __init__(self, recognizer: Recognizer, options: AsrOptions) -> None:
        self._recognizer, self._options = recognizer, options
        self._detector: Callable[[], VoiceDetector] = detectors(options.voice_detector)

    def done(self, job: Job) -> Runs | LiveRun:
        return self._runs(job) if isinstance(job, FileJob) else self._live(job)

    def hear(self, path: Path) -> str:
        hearing, cutter = Hearing(self._recognizer, lambda: False), self._cutter()
        segments: list[Segment] = []
        for samples in decoded(path):
            for piece in cutter.feed(samples):
                if isinstance(piece, Piece):
                    segments += hearing.segments(piece, Asked())
        for piece in cutter.finish():
            if isinstance(piece, Piece):
                segments += hearing.segments(piece, Asked())
        return joined(segments)

    def _runs(self, job: FileJob) -> Runs:
        @contextmanager
        def client() -> Iterator[Work]:
            yield lambda: self.hear(job.path)

        return repeat(client, job.effort)

    def _live(self, job: LiveJob) -> LiveRun:
        start = Start(live=True, turns=TurnDetection(silence_duration_ms=SILENCE_MS))
        witness = Witness()
        session = LiveSession(self._recognizer, self._detector, start, self._options.partial_interval_s, witness)
        samples = np.frombuffer(job.path.read_bytes(), "<i2").astype(np.float32) / np.float32(32768)
        chunk = round(CHUNK_S * SAMPLE_RATE)
        began, sent = time.perf_counter(), []
        try:
            for order, at in enumerate(range(0, len(samples), chunk)):
                time.sleep(max(0.0, began + order * CHUNK_S - time.perf_counter()))
                sent.append(time.perf_counter())
                session.feed(samples[at : at + chunk])
        finally:
            session.close()
        return LiveRun(sent_s=tuple(sent), shown=tuple(witness.shown))

    def _cutter(self) -> Cutter:
        """As a slot's engine cuts a file."""
        longest_s = self._recognizer.longest_piece_s
        if self._recognizer.cuts_itself:
            return BlockCutter(longest_s)
        return UtteranceCutter(self._detector(), TurnDetection(), longest_s)


class Witness:
    """A `Listener` that notes what a client would be shown: words on which two guesses agree."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self._texts: dict[int, GrowingText] = {}

    def tell(self, event: Event) -> None:
        at_s = time.perf_counter()
        match event:
            case Partial():
                self._note(at_s, "guess", event.utterance, event.text)
                self._note_delta(at_s, event.utterance, self._text(event.utterance).guess(event.text))
            case Committed():
                self._note(at_s, "committed", event.utterance)
            case Final():
                text = joined(event.segments)
                self._note_delta(at_s, event.utterance, self._text(event.utterance).end(text))
                self._note(at_s, "completed", event.utterance, text)
            case Failed():
                raise RuntimeError(event.message)

    def gone(self) -> bool:
        return False

    def behind(self) -> bool:
        return False

    def _text(self, utterance: int) -> GrowingText:
        return self._texts.setdefault(utterance, GrowingText())

    def _note_delta(self, at_s: float, utterance: int, text: str) -> None:
        if text:
            self._note(at_s, "delta", utterance, text)

    def _note(
        self, at_s: float, kind: Literal["guess", "delta", "committed", "completed"], utterance: int, text: str = ""
    ) -> None:
        self.shown.append(Shown(at_s=at_s, kind=kind, utterance=str(utterance), text=text))


def decoded(path: Path) -> Iterator[Samples]:
    import av

    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE, PIECE_SAMPLES)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            yield from (_floats(piece) for piece in resampler.resample(frame))
        yield from (_floats(piece) for piece in resampler.resample(None))


def _floats(frame: object) -> Samples:
    samples: Samples = frame.to_ndarray().reshape(-1).astype(np.float32) / np.float32(32768)  # type: ignore[attr-defined]
    return samples


def loaded(record: SlotRecord, folder: Path) -> Library:
    """With the threads that the slot's options name, and whatever else its engine would be given."""
    placement = placement_in(folder)
    model = ModelFiles(Path(record["model"]))
    recognizer: Recognizer
    if record["provider"] == "moonshine":
        from providers.moonshine import loading as moonshine
        from providers.moonshine.options import MoonshineSlot

        slot = MoonshineSlot.model_validate(record)
        recognizer = moonshine.load(slot, model, placement)
        return Library(recognizer, slot.options)
    from providers.whisper import loading as whisper
    from providers.whisper.options import WhisperSlot

    other = WhisperSlot.model_validate(record)
    recognizer = whisper.load(other, model, placement)
    return Library(recognizer, other.options)


def main() -> None:
    record, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    # Libraries print what they please, past Python, too.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    library = loaded(record, folder)
    print(READY, file=answers, flush=True)
    for line in sys.stdin:
        print(library.done(JOB.validate_json(line)).model_dump_json(), file=answers, flush=True)


if __name__ == "__main__":
    main()
