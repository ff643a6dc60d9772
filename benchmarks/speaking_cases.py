"""What is measured of text to speech, and how one round of it runs on either side."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median

from benchmarks import speaking_client
from benchmarks.load import Address, LoadError
from benchmarks.report import Targets
from benchmarks.servers import HAPROXY, PLAIN
from benchmarks.slots import PARALLEL, SlotRecord
from benchmarks.speaking_direct import Direct, Job
from benchmarks.speaking_runs import Spoken
from benchmarks.speech_runs import Effort
from benchmarks.statistics import Comparison
from providers.kokoro.names import SAMPLE_RATE
from providers.tiny import make_demo_models
from serve_app.audio.encode import SAMPLE_BYTES, Format

SLOT, VOICE = "tts", "af_heart"
PATHS = (PLAIN, HAPROXY)
SHORT = "The kettle is on, and the tea is nearly ready."
TWO = "The ferry leaves at a quarter past nine. Whoever comes later takes the bridge."
LONG = " ".join(
    [
        "The lighthouse stood at the end of a narrow spit of land, where gulls nested in spring.",
        "Every evening its keeper climbed ninety steps, wound the clock, and lit the lamp.",
        "He wrote down the weather, too: wind, cloud, and how far he could see.",
        "Nobody ever asked for his books.",
    ]
    * 4
)
"""Some 200 words. The first sentence is so long that its first clause is spoken by itself."""
ALIKE = 0.8
"""What one side speaks has at least that share of the bytes of the other's."""


class Measure(StrEnum):
    FIRST = "first"
    SPEED = "speed"
    RATE = "rate"


METRICS: Mapping[Measure, tuple[str, str, Comparison]] = {
    Measure.FIRST: ("first byte", "ms", Comparison.DIFFERENCE),
    Measure.SPEED: ("speed", "times real time", Comparison.RATIO),
    Measure.RATE: ("rate", "texts/s", Comparison.RATIO),
}
"""The figure that each kind of case yields: its name, its unit, and how it compares."""


@dataclass(frozen=True, slots=True)
class Case:
    """`at_once`: the library is given the whole text in one call."""

    name: str
    title: str
    measure: Measure
    text: str
    format: Format
    clients: int = 1
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds of one load; rounds of both sides in turn."""

    seconds: float
    rounds: int


QUICK = Plan(seconds=0.3, rounds=2)
FULL = Plan(seconds=1.5, rounds=5)

CASES = (
    Case("first-pcm", "Two sentences, PCM", Measure.FIRST, TWO, Format.PCM),
    Case("first-mp3", "Two sentences, MP3", Measure.FIRST, TWO, Format.MP3),
    Case("long-pcm", "200 words, PCM", Measure.SPEED, LONG, Format.PCM),
    Case("long-mp3", "200 words, MP3", Measure.SPEED, LONG, Format.MP3),
    Case("long-opus", "200 words, Opus", Measure.SPEED, LONG, Format.OPUS),
    Case("whole-pcm", "200 words, PCM, the library in one call", Measure.SPEED, LONG, Format.PCM, at_once=True),
    Case("crowd-pcm", "One sentence, PCM", Measure.RATE, SHORT, Format.PCM, clients=PARALLEL),
)
AIMS: Targets = {
    (case.name, case.clients, METRICS[case.measure][0]): dict.fromkeys(PATHS, 0.9)
    for case in CASES
    if case.measure is Measure.SPEED
}


def make_slot(folder: Path) -> SlotRecord:
    """The slot, with its model made in `folder`."""
    return {
        "name": SLOT,
        "provider": "kokoro",
        "model": str(make_demo_models(folder)["tiny-kokoro"]),
        "capabilities": ["speech"],
        "device": "cpu",
        "parallel_requests": PARALLEL,
        "unload_after_s": None,
        # A tiny model gains nothing from more threads, and idle ones spin on the cores that both sides share.
        "options": {"threads": 1},
    }


def measured(case: Case, direct: Direct, address: Address, plan: Plan) -> list[tuple[float, float]]:
    """The library called directly and the path take turns: their figures of each round. Raises `LoadError`."""
    effort = Effort(clients=case.clients, seconds=plan.seconds)
    request = speaking_client.request_of(SLOT, VOICE, case.text, case.format)
    seconds = speech_s(case.text, direct)
    rounds = []
    for _ in range(plan.rounds):
        bare = direct.speak(job(case, effort))
        ours = speaking_client.speak(address, request, effort)
        check_alike(case, bare, ours)
        rounds.append((figure(case.measure, bare, seconds), figure(case.measure, ours, seconds)))
    return rounds


def speech_s(text: str, direct: Direct) -> float:
    """How long the library speaks: what both sides are reckoned with, so that none gains by silence."""
    spoken = direct.speak(Job(text=text, voice=VOICE, format=Format.PCM, at_once=False, effort=Effort()))
    return spoken.size / SAMPLE_BYTES / SAMPLE_RATE


def check_alike(case: Case, bare: Spoken, ours: Spoken) -> None:
    """Raises `LoadError`."""
    if min(bare.size, ours.size) < ALIKE * max(bare.size, ours.size):
        raise LoadError(f"{case.title}: directly {bare.size} bytes are spoken, through hal0 {ours.size}")


def figure(measure: Measure, spoken: Spoken, speech_s: float) -> float:
    match measure:
        case Measure.FIRST:
            return median(spoken.first_s) * 1000
        case Measure.SPEED:
            return speech_s / median(spoken.times_s)
        case Measure.RATE:
            return len(spoken.times_s) / spoken.seconds


def job(case: Case, effort: Effort) -> Job:
    return Job(text=case.text, voice=VOICE, format=case.format, at_once=case.at_once, effort=effort)


def warm_up(address: Address) -> None:
    """The slot is loaded and has spoken, and whatever encodes is loaded, too."""
    for format in dict.fromkeys(case.format for case in CASES):
        speaking_client.speak(address, speaking_client.request_of(SLOT, VOICE, SHORT, format), Effort())
