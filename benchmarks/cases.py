"""What is measured: the cases, and on which paths."""

import base64
import random
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from benchmarks.bare import AGAIN
from benchmarks.peers import LITELLM, NAIVE
from benchmarks.router import ROUTER
from benchmarks.servers import HAPROXY, PLAIN, UP
from benchmarks.sides import Request
from benchmarks.slots import CHAT, COLD, CROWD, EMBED, INSTANT, LEFT, LOOP, MANY, PACED, RERANK, VISION
from benchmarks.statistics import Comparison
from benchmarks.voice_slots import HEARING, SPEAKING

CHAT_PATH, EMBEDDINGS_PATH, RERANK_PATH = "/v1/chat/completions", "/v1/embeddings", "/v1/rerank"
IDLE = 1000
PICTURE_PIXELS = 1700
"""Of each side: 8 MiB of noise, which no format makes smaller."""


class Measure(StrEnum):
    FIRST_BYTE = "first byte"
    STREAMS = "streams"
    PACED = "paced"
    REQUESTS = "requests"
    ANSWER = "answer"
    COLD_START = "cold start"
    SWAP = "swap"
    IDLE = "idle"
    HELD = "held"
    """In memory, by idle connections."""
    HEAR = "hear"
    SPEAK = "speak"


METRICS: Mapping[Measure, Mapping[str, tuple[str, Comparison]]] = {
    Measure.FIRST_BYTE: {"median": ("ms", Comparison.DIFFERENCE), "p99": ("ms", Comparison.DIFFERENCE)},
    Measure.STREAMS: {"rate": ("tokens/s", Comparison.RATIO)},
    Measure.PACED: {
        "rate": ("tokens/s", Comparison.RATIO),
        "gap p50": ("ms", Comparison.DIFFERENCE),
        "gap p99": ("ms", Comparison.DIFFERENCE),
    },
    Measure.REQUESTS: {"rate": ("requests/s", Comparison.RATIO)},
    Measure.ANSWER: {"median": ("ms", Comparison.DIFFERENCE)},
    Measure.COLD_START: {"time": ("ms", Comparison.DIFFERENCE)},
    Measure.SWAP: {"time": ("ms", Comparison.DIFFERENCE)},
    Measure.IDLE: {"median": ("ms", Comparison.DIFFERENCE), "p99": ("ms", Comparison.DIFFERENCE)},
    Measure.HELD: {"memory": ("KiB a connection", Comparison.DIFFERENCE)},
    Measure.HEAR: {"median": ("ms", Comparison.DIFFERENCE)},
    Measure.SPEAK: {"first byte": ("ms", Comparison.DIFFERENCE)},
}
"""The figures that each kind of case yields: unit, and how they compare."""


@dataclass(frozen=True, slots=True)
class Case:
    """`also`: paths that it is measured on beside `hal0 up`."""

    name: str
    title: str
    measure: Measure
    slot: str
    request: Request
    clients: tuple[int, ...] = (1,)
    also: tuple[str, ...] = ()


def _chat(max_tokens: int, stream: bool) -> Request:
    message = {"role": "user", "content": "Hello"}
    return Request(CHAT_PATH, {"messages": [message], "max_tokens": max_tokens, "stream": stream, "temperature": 0})


def _embeddings(given: str | list[str]) -> Request:
    return Request(EMBEDDINGS_PATH, {"input": given})


def _rerank(documents: int) -> Request:
    texts = [f"document {index} is about tea, coffee and water" for index in range(documents)]
    return Request(RERANK_PATH, {"query": "what is tea?", "documents": texts})


@dataclass(frozen=True, slots=True)
class Picture(Request):
    """A chat about a picture of 8 MiB, which is made when it is first asked for."""

    def to(self, slot: str) -> dict[str, Any]:
        picture = {"type": "image_url", "image_url": {"url": picture_url(PICTURE_PIXELS)}}
        content = [{"type": "text", "text": "What is this?"}, picture]
        return Request.to(self, slot) | {"messages": [{"role": "user", "content": content}]}


@cache
def picture_url(pixels: int) -> str:
    """A square PNG of noise."""
    noise = random.Random(0)
    rows = b"".join(b"\0" + noise.randbytes(3 * pixels) for _ in range(pixels))
    head = struct.pack(">IIBBBBB", pixels, pixels, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


_EVERY = (AGAIN, PLAIN, HAPROXY, LITELLM, NAIVE)
_OURS = (AGAIN, PLAIN, HAPROXY)
_INSTANT_CHAT, _PACED_CHAT = _chat(4, False), _chat(1000, True)
_NO_REQUEST = Request("", {})
"""What hears and speaks has requests of its own."""

CASES = (
    Case(
        *("first-byte", "First byte of a stream, instant engine", Measure.FIRST_BYTE, INSTANT, _chat(4, True)),
        also=_EVERY,
    ),
    Case(
        *("first-byte-real", "First byte of a stream, tiny model", Measure.FIRST_BYTE, CHAT, _chat(4, True)),
        also=(AGAIN, ROUTER),
    ),
    Case(*("chat-1", "Short chats, instant engine", Measure.REQUESTS, INSTANT, _INSTANT_CHAT), also=(LITELLM, NAIVE)),
    Case(
        *("chat", "Short chats, instant engine", Measure.REQUESTS, INSTANT, _INSTANT_CHAT),
        clients=(CROWD,),
        also=_EVERY,
    ),
    Case(
        *("chat-real", "Short chats, tiny model", Measure.REQUESTS, CHAT, _INSTANT_CHAT),
        clients=(1, CROWD),
        also=(ROUTER,),
    ),
    Case(
        *("long-stream", "Long streams, tiny model at full speed", Measure.STREAMS, LOOP, _chat(3000, True)),
        clients=(1, 8),
        also=(ROUTER,),
    ),
    Case(*("paced-1", "Streams of 50 tokens/s", Measure.PACED, PACED, _PACED_CHAT)),
    Case(*("paced-8", "Streams of 50 tokens/s", Measure.PACED, PACED, _PACED_CHAT), clients=(8,), also=(LITELLM,)),
    Case(*("paced", "Streams of 50 tokens/s", Measure.PACED, PACED, _PACED_CHAT), clients=(64,), also=(*_OURS, NAIVE)),
    Case(*("paced-many", "Streams of 50 tokens/s", Measure.PACED, PACED, _PACED_CHAT), clients=(MANY,), also=(AGAIN,)),
    Case(
        *("embeddings-1", "Short embeddings", Measure.REQUESTS, EMBED, _embeddings("a short text")),
        also=(ROUTER,),
    ),
    Case(
        *("embeddings", "Short embeddings", Measure.REQUESTS, EMBED, _embeddings("a short text")),
        clients=(CROWD,),
        also=(*_OURS, ROUTER),
    ),
    Case(
        *("embeddings-64", "Embeddings of 64 texts", Measure.ANSWER, EMBED, _embeddings(["a short text"] * 64)),
        also=(ROUTER,),
    ),
    Case(*("rerank-100", "Rerank of 100 documents", Measure.ANSWER, RERANK, _rerank(100)), also=(ROUTER,)),
    Case(
        *("picture", "Chat about a picture of 8 MiB", Measure.ANSWER, VISION),
        Picture(CHAT_PATH, {"max_tokens": 4, "temperature": 0}),
        also=(ROUTER,),
    ),
    Case(*("transcription", "A short sound heard", Measure.HEAR, HEARING, _NO_REQUEST)),
    Case(*("speech", "Two sentences spoken", Measure.SPEAK, SPEAKING, _NO_REQUEST)),
    Case(*("cold-start", "Cold start", Measure.COLD_START, COLD, _chat(4, True)), also=(AGAIN, PLAIN, ROUTER)),
    Case(*("swap", "Swap of two slots", Measure.SWAP, LEFT, _chat(4, True)), also=(AGAIN, PLAIN)),
    Case(*("held", f"{IDLE} idle connections", Measure.HELD, INSTANT, _chat(4, True)), also=(HAPROXY,)),
    Case(
        *("idle", f"First byte beside {IDLE} idle connections", Measure.IDLE, INSTANT, _chat(4, True)),
        also=(HAPROXY,),
    ),
)


def runs_on(case: Case, path: str) -> bool:
    return path == UP or path in case.also
