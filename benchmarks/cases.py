"""What is measured: the cases, and how one round of one of them runs."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from benchmarks.engines import BareEngines
from benchmarks.load import Address, Seen, first_byte_s, load
from benchmarks.slots import CHAT, COLD, EMBED, LOOP, THROTTLED
from benchmarks.statistics import Comparison, percentile

CHAT_PATH, EMBEDDINGS_PATH = "/v1/chat/completions", "/v1/embeddings"
REST_S = 0.3
"""Between two loads, so that an engine notices that the clients of the first have left."""
COLD_TIMEOUT_S = 60.0


class Measure(StrEnum):
    FIRST_BYTE = "first byte"
    TOKENS = "tokens"
    REQUESTS = "requests"
    COLD_START = "cold start"


METRICS: Mapping[Measure, Mapping[str, tuple[str, Comparison]]] = {
    Measure.FIRST_BYTE: {
        "median": ("ms", Comparison.DIFFERENCE),
        "p99": ("ms", Comparison.DIFFERENCE),
    },
    Measure.TOKENS: {"rate": ("tokens/s", Comparison.RATIO)},
    Measure.REQUESTS: {"rate": ("requests/s", Comparison.RATIO)},
    Measure.COLD_START: {"time": ("ms", Comparison.DIFFERENCE)},
}
"""The figures that each kind of case yields: unit, and how they compare."""

Figures = dict[str, float]


class Path(Protocol):
    """A way to an engine, which is compared with the engine itself."""

    name: str

    def running(self) -> AbstractContextManager[None]: ...
    def offers(self, slot: str) -> bool: ...
    def address(self, slot: str) -> Address: ...
    def make_cold(self, slot: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    title: str
    measure: Measure
    slot: str
    path: str
    body: Mapping[str, Any]
    clients: tuple[int, ...] = (1,)

    def request(self) -> dict[str, Any]:
        return {"model": self.slot, **self.body}


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: seconds of one load, and rounds of bare engine and path in turn."""

    seconds: float
    token_seconds: float
    rounds: int

    def seconds_of(self, measure: Measure) -> float:
        return self.token_seconds if measure is Measure.TOKENS else self.seconds


QUICK = Effort(seconds=1.0, token_seconds=2.0, rounds=2)
FULL = Effort(seconds=4.0, token_seconds=6.0, rounds=5)


def _chat(max_tokens: int, stream: bool) -> dict[str, Any]:
    message = {"role": "user", "content": "Hello"}
    return {"messages": [message], "max_tokens": max_tokens, "stream": stream, "temperature": 0}


CASES = (
    Case("first-byte", "First byte of a stream", Measure.FIRST_BYTE, CHAT, CHAT_PATH, _chat(4, True)),
    Case(
        *("tokens", "Tokens, engine at 50 a second and stream", Measure.TOKENS, THROTTLED, CHAT_PATH, _chat(200, True)),
        clients=(1, 8),
    ),
    Case(
        *("tokens-stress", "Tokens, tiny engine at full speed", Measure.TOKENS, LOOP, CHAT_PATH, _chat(3000, True)),
        clients=(1, 8),
    ),
    Case(
        *("embeddings", "Short embeddings", Measure.REQUESTS, EMBED, EMBEDDINGS_PATH, {"input": "a short text"}),
        clients=(1, 8, 16, 32),
    ),
    Case(
        *("chat", "Short chats, not streamed", Measure.REQUESTS, CHAT, CHAT_PATH, _chat(4, False)),
        clients=(1, 8, 32),
    ),
    Case("cold-start", "Cold start to first byte", Measure.COLD_START, COLD, CHAT_PATH, _chat(4, True)),
)


def warm_up(path: Path, case: Case) -> None:
    """The slot is loaded, and every code path on the way has run once."""
    first_byte_s(path.address(case.slot), case.path, case.request(), COLD_TIMEOUT_S)


def bare_round(bare: BareEngines, case: Case, clients: int, effort: Effort) -> Figures:
    if case.measure is Measure.COLD_START:
        return {"time": bare.cold_start_s(case.path, case.request()) * 1000}
    return _load(bare.address(case.slot), case, clients, effort)


def path_round(path: Path, case: Case, clients: int, effort: Effort) -> Figures:
    if case.measure is Measure.COLD_START:
        path.make_cold(case.slot)
        return {"time": first_byte_s(path.address(case.slot), case.path, case.request(), COLD_TIMEOUT_S) * 1000}
    return _load(path.address(case.slot), case, clients, effort)


def _load(address: Address, case: Case, clients: int, effort: Effort) -> Figures:
    time.sleep(REST_S)
    return figures(case.measure, load(address, case.path, case.request(), clients, effort.seconds_of(case.measure)))


def figures(measure: Measure, seen: Seen) -> Figures:
    if measure is Measure.FIRST_BYTE:
        times_ms = [seconds * 1000 for seconds in seen.first_byte_s]
        return {"median": percentile(times_ms, 50), "p99": percentile(times_ms, 99)}
    if measure is Measure.TOKENS:
        # The events at both ends mark the span; counting one of them too many would favour short spans.
        return {"rate": (seen.events - 1) / seen.event_span_s}
    return {"rate": seen.requests / seen.seconds}
