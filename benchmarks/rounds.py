"""One round of a case on one side."""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.cases import IDLE, Case, Measure
from benchmarks.load import Generator, LoadError, Seen, job_of, load
from benchmarks.processes import memory
from benchmarks.sides import Side
from benchmarks.slots import LEFT, RIGHT
from benchmarks.speech_runs import Effort as Repeating
from benchmarks.statistics import percentile

REST_S = 0.3
"""Between two loads, so that an engine notices that the clients of the first have left."""
SPOKEN = "The ferry leaves at a quarter past nine. Whoever comes later takes the bridge."
LONG = (Measure.STREAMS, Measure.PACED, Measure.ANSWER)
SLOT_MEASURES = (Measure.COLD_START, Measure.SWAP)

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: seconds of one load, and of one whose answers take long; rounds of bare engine and path in
    turn."""

    seconds: float
    long_seconds: float
    rounds: int
    cold_starts: int
    swaps: int

    def seconds_of(self, measure: Measure) -> float:
        return self.long_seconds if measure in LONG else self.seconds

    def rounds_of(self, measure: Measure) -> int:
        # A process does not give memory back: what a second round of idle connections takes is there already.
        fixed = {Measure.COLD_START: self.cold_starts, Measure.SWAP: self.swaps, Measure.HELD: 1}
        return fixed.get(measure, self.rounds)


QUICK = Effort(seconds=0.5, long_seconds=1.5, rounds=1, cold_starts=2, swaps=2)
FULL = Effort(seconds=1.3, long_seconds=2.5, rounds=5, cold_starts=20, swaps=10)


def warm_up(side: Side, case: Case, sound: Path) -> None:
    """The slot is loaded, and every code path on the way has run once."""
    if case.measure is Measure.HEAR:
        side.hear(sound, Repeating())
    elif case.measure is Measure.SPEAK:
        side.speak(SPOKEN, Repeating())
    elif case.measure not in SLOT_MEASURES:
        case.request.first_byte_s(side.address(case.slot), case.slot)


def round_of(side: Side, case: Case, clients: int, effort: Effort, number: int, sound: Path) -> Figures:
    """`number` counts the rounds of a case. Raises `LoadError`."""
    match case.measure:
        case Measure.COLD_START:
            return {"time": side.cold_start_s(case.request) * 1000}
        case Measure.SWAP:
            leaving, coming = (LEFT, RIGHT) if number % 2 else (RIGHT, LEFT)
            return {"time": side.swap_s(case.request, leaving, coming) * 1000}
        case Measure.HEAR:
            heard = side.hear(sound, Repeating(seconds=effort.seconds))
            return {"median": median(heard.times_s) * 1000}
        case Measure.SPEAK:
            spoken = side.speak(SPOKEN, Repeating(seconds=effort.seconds))
            return {"first byte": median(spoken.first_s) * 1000}
        case Measure.IDLE | Measure.HELD:
            return _while_idle(side, case, clients, effort)
    time.sleep(REST_S)
    body = case.request.to(case.slot)
    seconds = effort.seconds_of(case.measure)
    return figures(case.measure, load(side.address(case.slot), case.request.path, body, clients, seconds))


def _while_idle(side: Side, case: Case, clients: int, effort: Effort) -> Figures:
    time.sleep(REST_S)
    pids, body = side.ingress_pids(), case.request.to(case.slot)
    before = sum(memory(pid).uss for pid in pids)
    job = job_of(side.address(case.slot), case.request.path, body, clients, effort.seconds, IDLE)
    with Generator(job) as generator:
        generator.wait_until_idle()
        taken = sum(memory(pid).uss for pid in pids) - before
        seen = generator.seen()
    if case.measure is Measure.HELD:
        return {"memory": taken * 1024 / IDLE}
    return figures(Measure.FIRST_BYTE, seen)


def figures(measure: Measure, seen: Seen) -> Figures:
    """Raises `LoadError` if nothing came in time."""
    match measure:
        case Measure.FIRST_BYTE:
            return {"median": _ms(seen.first_byte_s, 50), "p99": _ms(seen.first_byte_s, 99)}
        case Measure.STREAMS:
            return {"rate": _event_rate(seen)}
        case Measure.PACED:
            return {"rate": _event_rate(seen), "gap p50": _ms(seen.gap_s, 50), "gap p99": _ms(seen.gap_s, 99)}
        case Measure.ANSWER:
            return {"median": _ms(seen.answer_s, 50)}
        case _:
            return {"rate": seen.requests / seen.seconds}


def _ms(seconds: list[float], percent: float) -> float:
    if not seconds:
        raise LoadError("no answer came within the time of a round")
    return percentile(seconds, percent) * 1000


def _event_rate(seen: Seen) -> float:
    if not seen.event_span_s:
        raise LoadError("no two tokens came within the time of a round")
    # The events at both ends mark the span; counting one of them too many would favour short spans.
    return (seen.events - 1) / seen.event_span_s
