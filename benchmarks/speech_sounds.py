"""What is heard: tones that the tiny models understand word by word, and real speech from a package that has some."""

import importlib.util
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from providers.tiny.tones import SAMPLE_RATE, WORD_S, WORDS, tones

LONG_S = 600.0
SHORT_S = 3.0
LEAD_S = 0.5
"""Silence at the beginning."""
BETWEEN_S = 0.08
"""Between words; so three words take a second, as when people speak."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Utterance:
    """Times in seconds: where it begins, and the silence that follows."""

    words: tuple[str, ...]
    start_s: float
    pause_s: float

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def word_ends_s(self) -> tuple[float, ...]:
        return tuple(self.start_s + order * (WORD_S + BETWEEN_S) + WORD_S for order in range(len(self.words)))

    @property
    def end_s(self) -> float:
        return self.word_ends_s[-1] + self.pause_s


@dataclass(frozen=True, slots=True)
class Sounds:
    """Files by what is in them."""

    short: Path
    long_wav: Path
    long_mp3: Path
    speech: Path
    long_speech: Path


def conversation(
    seconds: float, seed: int, words: int = 8, pause_s: tuple[float, float] = (0.7, 1.4)
) -> Iterator[Utterance]:
    """Utterances of up to so many words, the same for the same seed, as long as they fit."""
    random = Random(seed)
    at_s = LEAD_S
    while True:
        chosen = tuple(random.choices(WORDS, k=random.randint(3, words)))
        # Whole milliseconds have whole samples at every usual rate.
        utterance = Utterance(chosen, round(at_s, 3), round(random.uniform(*pause_s), 3))
        if utterance.end_s > seconds:
            return
        yield utterance
        at_s = utterance.end_s


def samples_of(utterances: Sequence[Utterance], seconds: float, rate: int = SAMPLE_RATE) -> Floats:
    whole = np.zeros(round(seconds * rate), np.float32)
    for utterance in utterances:
        spoken = tones(utterance.words, between_s=BETWEEN_S, rate=rate)
        start = round(utterance.start_s * rate)
        whole[start : start + len(spoken)] = spoken
    return whole


def pcm_of(samples: Floats) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def make_sounds(folder: Path, long_s: float) -> Sounds:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("short.wav", "long.wav", "long.mp3", "speech.wav", "long-speech.wav")
    sounds = Sounds(*(folder / name for name in names))
    _write_wav(sounds.short, pcm_of(tones(WORDS, before_s=LEAD_S, after_s=SHORT_S - LEAD_S - len(WORDS) * WORD_S)))
    long = pcm_of(samples_of(tuple(conversation(long_s, seed=1)), long_s))
    _write_wav(sounds.long_wav, long)
    _write_mp3(sounds.long_mp3, long)
    speech = real_speech()
    _write_wav(sounds.speech, speech)
    times = -(-round(long_s * SAMPLE_RATE * 2) // len(speech))
    _write_wav(sounds.long_speech, (speech * times)[: round(long_s * SAMPLE_RATE) * 2])
    return sounds


def real_speech() -> bytes:
    """Ten seconds at `SAMPLE_RATE`, mono, signed 16 bits, which the package moonshine-voice ships."""
    found = importlib.util.find_spec("moonshine_voice")
    assert found is not None and found.submodule_search_locations
    with wave.open(str(Path(found.submodule_search_locations[0], "assets", "beckett.wav"))) as file:
        assert (file.getframerate(), file.getnchannels()) == (SAMPLE_RATE, 1)
        pcm: bytes = file.readframes(file.getnframes())
    return pcm


def seconds_of(path: Path) -> float:
    import av

    with av.open(str(path)) as container:
        assert container.duration is not None
        return container.duration / av.time_base


def _write_wav(path: Path, pcm: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm)


def _write_mp3(path: Path, pcm: bytes) -> None:
    """As most MP3 of speech is: 44.1 kHz, so that whoever hears it resamples it."""
    import av

    with av.open(str(path), "w", format="mp3") as target:
        stream = target.add_stream("libmp3lame", rate=44_100, layout="mono")
        stream.bit_rate = 64_000
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, "mono", 44_100, context.frame_size)
        samples = np.frombuffer(pcm, "<i2")
        for begin in range(0, len(samples), SAMPLE_RATE):
            frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + SAMPLE_RATE], "s16", "mono")
            frame.sample_rate = SAMPLE_RATE
            for piece in resampler.resample(frame):
                target.mux(stream.encode(piece))
        for rest in (*resampler.resample(None), None):
            target.mux(stream.encode(rest))
