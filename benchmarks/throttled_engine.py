"""A load model, not an engine: it speaks llama.cpp's HTTP at a fixed rate of tokens, as a large model would.

Takes llama-server's arguments, of which it heeds `--host`, `--port` and `--alias`, and LLAMA_API_KEY. Needs only the
standard library, since hal0 starts it by its path.
"""

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

DEFAULT_TOKENS = 64
CONTENT_TYPE = {True: "text/event-stream", False: "application/json; charset=utf-8"}
REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found"}
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Settings:
    """`tokens_per_second` holds for each stream."""

    host: str
    port: int
    model: str
    tokens_per_second: float
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    authorization: str
    body: bytes


def parse_arguments(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Settings:
    """Whatever else llama-server takes is ignored."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-a", "--alias", default="throttled")
    parser.add_argument("--tokens-per-second", type=float, default=50.0)
    given, _ = parser.parse_known_args(argv)
    keys = frozenset(key for key in environ.get("LLAMA_API_KEY", "").split(",") if key)
    return Settings(given.host, given.port, given.alias, given.tokens_per_second, keys)


def events(model: str, tokens: int) -> Iterator[bytes]:
    """A streamed answer as llama.cpp words it: the role, one event a token, the end's reason, [DONE]."""
    yield event(model, {"role": "assistant", "content": None}, None)
    for index in range(tokens):
        yield event(model, {"content": f" word{index}"}, None)
    yield event(model, {}, "length")
    yield DONE


def event(model: str, delta: Mapping[str, str | None], finish_reason: str | None) -> bytes:
    record = {
        "choices": [{"finish_reason": finish_reason, "index": 0, "delta": delta}],
        "created": 0,
        "id": "chatcmpl-throttled",
        "model": model,
        "system_fingerprint": "throttled",
        "object": "chat.completion.chunk",
    }
    return b"data: " + json.dumps(record, separators=(",", ":")).encode() + b"\n\n"


def whole_answer(model: str, tokens: int) -> bytes:
    message = {"role": "assistant", "content": "".join(f" word{index}" for index in range(tokens))}
    record = {
        "choices": [{"finish_reason": "length", "index": 0, "message": message}],
        "created": 0,
        "id": "chatcmpl-throttled",
        "model": model,
        "object": "chat.completion",
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
    }
    return json.dumps(record, separators=(",", ":")).encode()


async def serve(settings: Settings) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None:
                await answer(request, writer, settings)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(connected, settings.host, settings.port)


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """None once the client has closed between requests."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers.get("authorization", ""), body)


async def answer(request: Request, writer: asyncio.StreamWriter, settings: Settings) -> None:
    if (request.method, request.path) == ("GET", "/health"):
        return await send_whole(writer, 200, b'{"status":"ok"}')
    if settings.keys and request.authorization.removeprefix("Bearer ") not in settings.keys:
        return await send_whole(writer, 401, error_body(401, "Invalid API Key", "authentication_error"))
    if (request.method, request.path) != ("POST", "/v1/chat/completions"):
        return await send_whole(writer, 404, error_body(404, "File Not Found", "not_found_error"))
    asked = json.loads(request.body)
    tokens = int(asked.get("max_tokens") or DEFAULT_TOKENS)
    if asked.get("stream"):
        return await send_stream(writer, settings, tokens)
    await asyncio.sleep(tokens / settings.tokens_per_second)
    await send_whole(writer, 200, whole_answer(settings.model, tokens))


async def send_stream(writer: asyncio.StreamWriter, settings: Settings, tokens: int) -> None:
    """By the clock of the stream's beginning, so that a late token does not delay the ones after it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.write(head_of(200, True) + b"Transfer-Encoding: chunked\r\n\r\n")
    for index, data in enumerate(events(settings.model, tokens)):
        due = began + min(index, tokens) / settings.tokens_per_second
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def send_whole(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    writer.write(head_of(status, False) + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


def head_of(status: int, stream: bool) -> bytes:
    return f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {CONTENT_TYPE[stream]}\r\n".encode()


def error_body(code: int, message: str, kind: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "type": kind}}).encode()


async def run(settings: Settings) -> None:
    server = await serve(settings)
    print(f"throttled engine listens on {settings.host}:{settings.port}", flush=True)
    await server.serve_forever()


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(run(parse_arguments(None, os.environ)))


if __name__ == "__main__":
    main()
