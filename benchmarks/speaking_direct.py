"""`kokoro-onnx` called directly: in a process of its own, with no server before it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.slots import SlotRecord
from benchmarks.speaking_runs import Speak, Spoken, spoken
from benchmarks.speech_runs import Effort
from providers.base import ModelFiles
from providers.devices import Device
from providers.kokoro.files import found
from providers.kokoro.names import SAMPLE_RATE
from providers.kokoro.options import KokoroSlot
from providers.onnx.session import open_session
from providers.spec import Frozen
from providers.tts.pipeline_sound import silence
from providers.tts.sentences import sentences
from providers.tts.synthesizer import Samples
from serve_app.audio.encode import Format, encoder

if TYPE_CHECKING:
    pass

LANGUAGE = "en-us"
"""As espeak-ng calls it."""
LONGEST_TEXT = 250
"""Characters of a sentence, as hal0 cuts them for Kokoro."""


class Job(Frozen):
    """`at_once`: the whole text in one call, as the library cuts it; else sentence by sentence."""

    text: str
    voice: str
    format: Format
    at_once: bool
    effort: Effort


class Direct:
    """The child process of one slot."""

    def __init__(self, slot: SlotRecord) -> None:
        self._slot = slot
        self._pool: ProcessPoolExecutor | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        # Anew, not forked: nothing of this process may be in it, its threads least of all.
        context = get_context("spawn")
        with ProcessPoolExecutor(1, context, initializer=_load, initargs=(self._slot,)) as self._pool:
            yield

    def speak(self, job: Job) -> Spoken:
        """Raises what the library raises."""
        assert self._pool is not None
        return self._pool.submit(_spoken, job).result()


class Library:
    """One loaded model. Thread-safe: sentences of several texts are computed at once."""

    def __init__(self, slot: KokoroSlot) -> None:
        from kokoro_onnx import Kokoro

        files = found(ModelFiles(Path(slot.model)))
        session = open_session(files.model, Device.CPU, slot.options.threads or 1)
        self._kokoro: Kokoro = Kokoro.from_session(session, str(files.voices))
        self._pause = silence(slot.options.sentence_pause_s, SAMPLE_RATE)
        self._styles: dict[str, Samples] = {}
        self._phonemizing = threading.Lock()

    def spoken(self, job: Job) -> Spoken:
        # It would unpack the voice from its archive each time.
        style = self._styles.setdefault(job.voice, self._kokoro.get_voice_style(job.voice))

        @contextmanager
        def client() -> Iterator[Speak]:
            yield lambda: self._encoded(job, style)

        return spoken(client, job.effort)

    def _encoded(self, job: Job, style: Samples) -> Iterator[bytes]:
        with closing(encoder(job.format, SAMPLE_RATE)) as coder:
            for sound in (self._whole if job.at_once else self._sentences)(job.text, style):
                yield coder.feed(sound)
            yield coder.finish()

    def _whole(self, text: str, style: Samples) -> Iterator[bytes]:
        samples, _ = self._kokoro.create(self._phonemes(text), style, is_phonemes=True)
        yield _pcm(samples)

    def _sentences(self, text: str, style: Samples) -> Iterator[bytes]:
        """As hal0 cuts them, with its pauses, so that both sides compute and encode the same."""
        pieces = sentences(text, LONGEST_TEXT)
        for number, piece in enumerate(pieces, 1):
            phonemes = self._phonemes(piece.text)
            samples, _ = self._kokoro.create(phonemes, style, is_phonemes=True, sentence_pause=0.0, clause_pause=0.0)
            yield _pcm(samples) + (self._pause if number < len(pieces) else b"")

    def _phonemes(self, text: str) -> str:
        # espeak-ng keeps its state in the process.
        with self._phonemizing:
            phonemes: str = self._kokoro.tokenizer.phonemize(text, LANGUAGE)
        return phonemes


def _pcm(samples: Samples) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


_library: Library | None = None
"""Of the child process."""


def _load(slot: SlotRecord) -> None:
    global _library
    _library = Library(KokoroSlot.model_validate(slot))


def _spoken(job: Job) -> Spoken:
    assert _library is not None
    return _library.spoken(job)
