"""What is measured of speech to text, and how one round of it runs on either side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median

from benchmarks import speech_client
from benchmarks.load import Address, LoadError
from benchmarks.report import Targets
from benchmarks.servers import HAPROXY, PLAIN
from benchmarks.slots import PARALLEL, SlotRecord
from benchmarks.speech_direct import Direct
from benchmarks.speech_live import latencies
from benchmarks.speech_runs import Effort, Runs
from benchmarks.speech_sounds import Sounds, Utterance, conversation, pcm_of, samples_of, seconds_of
from benchmarks.statistics import Comparison
from providers.asr.recognizer import SAMPLE_RATE
from providers.tiny import make_demo_models
from providers.tiny.moonshine import make_moonshine_streaming

MOONSHINE, STREAMING, WHISPER = "moonshine", "moonshine-streaming", "whisper"
MOONSHINE_SILERO, WHISPER_SILERO = "moonshine-silero", "whisper-silero"
PATHS = (PLAIN, HAPROXY)
SILENT_END_S = 2.0
"""After the last utterance of a live session."""

Figures = dict[str, float]


class Measure(StrEnum):
    ADDED = "added"
    SPEED = "speed"
    RATE = "rate"
    LIVE = "live"


METRICS: Mapping[Measure, Mapping[str, tuple[str, Comparison]]] = {
    Measure.ADDED: {"median": ("ms", Comparison.DIFFERENCE)},
    Measure.SPEED: {"speed": ("times real time", Comparison.RATIO)},
    Measure.RATE: {"rate": ("requests/s", Comparison.RATIO)},
    Measure.LIVE: {"word": ("ms", Comparison.DIFFERENCE), "final": ("ms", Comparison.DIFFERENCE)},
}
"""The figures that each kind of case yields: unit, and how they compare."""


@dataclass(frozen=True, slots=True)
class Case:
    """`sound` is a field of `Sounds`; a live case has a `rate` instead, in Hz, at which its client sends."""

    name: str
    title: str
    measure: Measure
    slot: str
    sound: str = ""
    clients: int = 1
    rate: int = SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds of one load, of the long files and of a live session; rounds of both sides in turn."""

    seconds: float
    long_s: float
    live_s: float
    rounds: int
    live_rounds: int

    def rounds_of(self, measure: Measure) -> int:
        return self.live_rounds if measure is Measure.LIVE else self.rounds


QUICK = Plan(seconds=0.5, long_s=60.0, live_s=8.0, rounds=2, live_rounds=1)
FULL = Plan(seconds=2.0, long_s=600.0, live_s=15.0, rounds=5, live_rounds=3)

CASES = (
    Case("short-moonshine", "3 s of tones, Moonshine", Measure.ADDED, MOONSHINE, "short"),
    Case("short-whisper", "3 s of tones, Whisper", Measure.ADDED, WHISPER, "short"),
    Case("speech-moonshine", "10 s of speech, Silero, Moonshine", Measure.ADDED, MOONSHINE_SILERO, "speech"),
    Case("speech-whisper", "10 s of speech, Silero, Whisper", Measure.ADDED, WHISPER_SILERO, "speech"),
    Case("wav-moonshine", "Long WAV, Moonshine", Measure.SPEED, MOONSHINE, "long_wav"),
    Case("mp3-moonshine", "Long MP3, Moonshine", Measure.SPEED, MOONSHINE, "long_mp3"),
    Case("wav-whisper", "Long WAV, Whisper", Measure.SPEED, WHISPER, "long_wav"),
    Case("mp3-whisper", "Long MP3, Whisper", Measure.SPEED, WHISPER, "long_mp3"),
    Case("long-speech-moonshine", "Long speech, Silero, Moonshine", Measure.SPEED, MOONSHINE_SILERO, "long_speech"),
    Case("long-speech-whisper", "Long speech, Silero, Whisper", Measure.SPEED, WHISPER_SILERO, "long_speech"),
    Case("crowd-moonshine", "3 s of tones, Moonshine", Measure.RATE, MOONSHINE, "short", clients=PARALLEL),
    Case("crowd-whisper", "3 s of tones, Whisper", Measure.RATE, WHISPER, "short", clients=PARALLEL),
    Case("live-moonshine", "Live at 16 kHz, Moonshine", Measure.LIVE, MOONSHINE),
    Case("live-streaming", "Live at 16 kHz, streaming Moonshine", Measure.LIVE, STREAMING),
    Case("live-24k", "Live at 24 kHz, streaming Moonshine", Measure.LIVE, STREAMING, rate=24_000),
)
AIMS: Targets = {
    (case.name, case.clients, metric): dict.fromkeys(PATHS, bound)
    for measure, metric, bound in ((Measure.SPEED, "speed", 0.9), (Measure.LIVE, "word", 30.0))
    for case in CASES
    if case.measure is measure
}


def make_slots(folder: Path) -> tuple[SlotRecord, ...]:
    """Slots with their models made in `folder`."""
    models = make_demo_models(folder)
    streaming = folder / "tiny-moonshine-streaming"
    make_moonshine_streaming(streaming)
    return (
        _slot(MOONSHINE, "moonshine", models["tiny-moonshine"], "level"),
        _slot(STREAMING, "moonshine", streaming, "level"),
        _slot(WHISPER, "faster-whisper", models["tiny-whisper"], "level"),
        _slot(MOONSHINE_SILERO, "moonshine", models["tiny-moonshine"], "silero"),
        _slot(WHISPER_SILERO, "faster-whisper", models["tiny-whisper"], "silero"),
    )


def _slot(name: str, provider: str, model: Path, voice_detector: str) -> SlotRecord:
    return {
        "name": name,
        "provider": provider,
        "model": str(model),
        "capabilities": ["transcription"],
        "device": "cpu",
        "parallel_requests": PARALLEL,
        "unload_after_s": None,
        # A tiny model gains nothing from more threads, and idle ones spin on the cores that both sides share.
        "options": {"threads": 1, "voice_detector": voice_detector},
    }


class Speaker:
    """What is said in live sessions, another thing in each round."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds

    def said(self, turn: int) -> tuple[Utterance, ...]:
        return tuple(conversation(self._seconds, seed=100 + turn))

    def file(self, turn: int, rate: int) -> Path:
        path = self._folder / f"live-{turn}-{rate}.pcm"
        if not path.exists():
            path.write_bytes(pcm_of(samples_of(self.said(turn), self._seconds + SILENT_END_S, rate)))
        return path


def measured(
    case: Case, direct: Direct, address: Address, sounds: Sounds, speaker: Speaker, plan: Plan
) -> list[tuple[Figures, Figures]]:
    """The library called directly and the path take turns: figures of each round. Raises `LoadError`."""
    rounds = range(plan.rounds_of(case.measure))
    if case.measure is Measure.LIVE:
        return [_live_round(case, direct, address, speaker, turn) for turn in rounds]
    path = getattr(sounds, case.sound)
    return [_file_round(case, direct, address, path, plan) for _ in rounds]


def _live_round(case: Case, direct: Direct, address: Address, speaker: Speaker, turn: int) -> tuple[Figures, Figures]:
    said = speaker.said(turn)
    bare = direct.listen(speaker.file(turn, SAMPLE_RATE))
    ours = speech_client.listen(address, case.slot, speaker.file(turn, case.rate), case.rate, len(said))
    return latencies(said, bare).medians(), latencies(said, ours).medians()


def _file_round(case: Case, direct: Direct, address: Address, path: Path, plan: Plan) -> tuple[Figures, Figures]:
    effort = Effort(clients=case.clients, seconds=0.0 if case.measure is Measure.SPEED else plan.seconds)
    bare = direct.hear(path, effort)
    ours = speech_client.hear(address, case.slot, path, effort)
    if bare.text != ours.text:
        raise LoadError(f"{path.name}: directly {bare.text[:200]!r} is heard, through hal0 {ours.text[:200]!r}")
    audio_s = seconds_of(path)
    return figures(case.measure, bare, audio_s), figures(case.measure, ours, audio_s)


def figures(measure: Measure, runs: Runs, audio_s: float) -> Figures:
    took_s = median(runs.times_s)
    match measure:
        case Measure.ADDED:
            return {"median": took_s * 1000}
        case Measure.SPEED:
            return {"speed": audio_s / took_s}
        case _:
            return {"rate": len(runs.times_s) / runs.seconds}


def warm_up(slots: Sequence[SlotRecord], address: Address, sounds: Sounds) -> None:
    """Every slot is loaded, and has heard something."""
    for slot in slots:
        speech_client.hear(address, slot["name"], sounds.short, Effort())
