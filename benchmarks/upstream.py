"""A load model, not an engine: it speaks llama.cpp's HTTP at once, or at a rate of tokens, as a large model would.

Takes llama-server's arguments, of which it heeds `--host`, `--port` and `--alias`, and LLAMA_API_KEY. It costs as
little as can be, since it shares the cores with what is measured; and it imports nothing of ours: hal0 starts it by its
path.
"""

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import httptools
import uvloop

DEFAULT_TOKENS = 64
CONTENT_TYPE = {True: "text/event-stream", False: "application/json; charset=utf-8"}
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
CHAT, EMBEDDINGS = ("POST", "/v1/chat/completions"), ("POST", "/v1/embeddings")
VECTOR = [0.125] * 32


@dataclass(frozen=True, slots=True)
class Settings:
    """`tokens_per_second` holds for each stream; 0: all at once."""

    host: str
    port: int
    model: str
    tokens_per_second: float
    keys: frozenset[str]


def parse_arguments(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Settings:
    """Whatever else llama-server takes is ignored."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-a", "--alias", default="upstream")
    parser.add_argument("--tokens-per-second", type=float, default=0.0)
    given, _ = parser.parse_known_args(argv)
    keys = frozenset(key for key in environ.get("LLAMA_API_KEY", "").split(",") if key)
    return Settings(given.host, given.port, given.alias, given.tokens_per_second, keys)


@lru_cache(maxsize=8)
def events(model: str, tokens: int) -> tuple[bytes, ...]:
    """A streamed answer as llama.cpp words it: the role, one event a token, the end's reason with [DONE]."""
    words = (event(model, {"content": f" word{index}"}, None) for index in range(tokens))
    end = event(model, {}, "length") + b"data: [DONE]\n\n"
    return event(model, {"role": "assistant", "content": None}, None), *words, end


def event(model: str, delta: Mapping[str, str | None], finish_reason: str | None) -> bytes:
    record = {
        "choices": [{"finish_reason": finish_reason, "index": 0, "delta": delta}],
        "created": 0,
        "id": "chatcmpl-upstream",
        "model": model,
        "system_fingerprint": "upstream",
        "object": "chat.completion.chunk",
    }
    return b"data: " + packed(record) + b"\n\n"


@lru_cache(maxsize=8)
def chunks(model: str, tokens: int) -> tuple[bytes, ...]:
    """`events`, framed; the last of them ends the answer."""
    *framed, last = (b"%x\r\n%b\r\n" % (len(one), one) for one in events(model, tokens))
    return *framed, last + b"0\r\n\r\n"


@lru_cache(maxsize=8)
def whole_answer(model: str, tokens: int) -> bytes:
    message = {"role": "assistant", "content": "".join(f" word{index}" for index in range(tokens))}
    record = {
        "choices": [{"finish_reason": "length", "index": 0, "message": message}],
        "created": 0,
        "id": "chatcmpl-upstream",
        "model": model,
        "object": "chat.completion",
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
    }
    return packed(record)


@lru_cache(maxsize=8)
def vectors(model: str, count: int) -> bytes:
    data = [{"embedding": VECTOR, "index": index, "object": "embedding"} for index in range(count)]
    return packed({"model": model, "object": "list", "usage": {"prompt_tokens": 1, "total_tokens": 1}, "data": data})


def packed(record: object) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()


class Connection(asyncio.Protocol):
    """One client, which asks one thing after the other. The parser calls the methods that begin with `on_`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._path = self._key = self._body = b""
        self._last = False
        """The client wants the connection closed after the answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._last = True
            self._whole(400, error_body(400, str(error), "invalid_request_error"))

    def on_message_begin(self) -> None:
        self._path = self._key = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._key = value.removeprefix(b"Bearer ")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        settings = self._settings
        self._last = not self._parser.should_keep_alive()
        asked = (self._parser.get_method().decode(), self._path.decode("latin-1"))
        if asked == ("GET", "/health"):
            return self._whole(200, b'{"status":"ok"}')
        if settings.keys and self._key.decode("latin-1") not in settings.keys:
            return self._whole(401, error_body(401, "Invalid API Key", "authentication_error"))
        if asked == CHAT:
            return self._chat(json.loads(self._body))
        if asked == EMBEDDINGS:
            given = json.loads(self._body)["input"]
            return self._whole(200, vectors(settings.model, len(given) if isinstance(given, list) else 1))
        self._whole(404, error_body(404, "File Not Found", "not_found_error"))

    def _chat(self, asked: Mapping[str, object]) -> None:
        tokens = int(str(asked.get("max_tokens") or DEFAULT_TOKENS))
        rate, now = self._settings.tokens_per_second, self._loop.time()
        if not asked.get("stream"):
            answer = whole_answer(self._settings.model, tokens)
            if not rate:
                return self._whole(200, answer)
            self._timer = self._loop.call_at(now + tokens / rate, self._whole, 200, answer)
            return
        head = head_of(200, True) + b"Transfer-Encoding: chunked\r\n\r\n"
        framed = chunks(self._settings.model, tokens)
        if not rate:
            return self._end(head + b"".join(framed))
        self._write(head)
        self._next(framed, 0, now)

    def _next(self, framed: Sequence[bytes], index: int, began: float) -> None:
        """By the clock of the stream's beginning, so that a late token does not delay the ones after it."""
        if index + 1 == len(framed):
            return self._end(framed[index])
        self._write(framed[index])
        # The end comes with the last token.
        due = began + min(index + 1, len(framed) - 2) / self._settings.tokens_per_second
        self._timer = self._loop.call_at(due, self._next, framed, index + 1, began)

    def _whole(self, status: int, body: bytes) -> None:
        self._end(head_of(status, False) + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _end(self, data: bytes) -> None:
        self._write(data)
        if self._last and self._transport is not None:
            self._transport.close()


def head_of(status: int, stream: bool) -> bytes:
    return f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {CONTENT_TYPE[stream]}\r\n".encode()


def error_body(code: int, message: str, kind: str) -> bytes:
    return packed({"error": {"code": code, "message": message, "type": kind}})


async def serve(settings: Settings) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(settings), settings.host, settings.port, backlog=1024)


async def run(settings: Settings) -> None:
    server = await serve(settings)
    print(f"the upstream listens on {settings.host}:{settings.port}", flush=True)
    await server.serve_forever()


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    uvloop.run(run(parse_arguments(None, os.environ)))


if __name__ == "__main__":
    main()
