"""The load generator, and the load model that it is pointed at, as llama.cpp words it. Nothing here is timed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks import upstream
from benchmarks.clients import work
from benchmarks.load import Address, Generator, Job, Seen, job_of, request_bytes

TOKENS = 5
CHAT = "/v1/chat/completions"
FAST = 1e6
"""Tokens a second: paced, but not slow."""


def test_takes_the_arguments_of_llama_server() -> None:
    served = ("--alias", "big", "--host", "127.0.0.2", "--port", "9")
    argv = ("--model", "m.gguf", *served, "--ctx-size", "8", "--no-webui", "--tokens-per-second", "20")
    settings = upstream.parse_arguments(argv, {"LLAMA_API_KEY": "a,b"})
    assert settings == upstream.Settings("127.0.0.2", 9, "big", 20.0, frozenset({"a", "b"}))


def test_streams_as_llama_cpp_does() -> None:
    *streamed, done = b"".join(upstream.events("big", TOKENS)).split(b"\n\n")[:-1]
    assert done == b"data: [DONE]"
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in streamed]
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": None}
    assert [choice["delta"]["content"] for choice in choices[1:-1]] == [f" word{index}" for index in range(TOKENS)]
    assert [choice["finish_reason"] for choice in choices] == [None] * (TOKENS + 1) + ["length"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


@asynccontextmanager
async def serving(tokens_per_second: float, keys: frozenset[str] = frozenset()) -> AsyncIterator[int]:
    """The port."""
    server = await upstream.serve(upstream.Settings("127.0.0.1", 0, "big", tokens_per_second, keys))
    async with server:
        yield server.sockets[0].getsockname()[1]


async def exchange(path: str, body: dict[str, object], key: str = "secret", rate: float = 0) -> tuple[int, bytes]:
    """Status and raw body of one answer, after which the connection is closed, as the request says."""
    async with serving(rate, frozenset({"secret"})) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = request_bytes(Job("127.0.0.1", port, key, path, json.dumps(body), 1, 0))
        writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


@pytest.mark.parametrize("rate", [0, FAST])
async def test_sends_one_event_a_token(rate: float) -> None:
    status, answer = await exchange(CHAT, {"stream": True, "max_tokens": TOKENS}, rate=rate)
    assert (status, answer.count(b"data: ")) == (200, TOKENS + 3)
    assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    sizes = [int(line, 16) for line in answer.split(b"\r\n")[0:-2:2]]
    assert [len(piece) for piece in answer.split(b"\r\n")[1:-2:2]] == sizes[:-1]


@pytest.mark.parametrize("rate", [0, FAST])
async def test_answers_in_whole(rate: float) -> None:
    status, answer = await exchange(CHAT, {"max_tokens": TOKENS}, rate=rate)
    assert status == 200
    assert json.loads(answer)["usage"]["completion_tokens"] == TOKENS


@pytest.mark.parametrize(("given", "count"), [("a", 1), (["a", "b", "c"], 3)])
async def test_embeds_each_text(given: object, count: int) -> None:
    status, answer = await exchange("/v1/embeddings", {"input": given})
    assert status == 200
    assert [one["index"] for one in json.loads(answer)["data"]] == list(range(count))


@pytest.mark.parametrize(("path", "key", "expected"), [(CHAT, "wrong", 401), ("/v1/elsewhere", "secret", 404)])
async def test_refuses(path: str, key: str, expected: int) -> None:
    status, answer = await exchange(path, {}, key)
    assert (status, json.loads(answer)["error"]["code"]) == (expected, expected)


async def test_serves_one_request_after_the_other_on_a_connection() -> None:
    async with serving(0) as port:
        seen = await work(Job("127.0.0.1", port, "", CHAT, '{"max_tokens": 1}', clients=1, seconds=0.2))
    assert seen.failures == [] and seen.requests > 1
    assert len(seen.answer_s) == seen.requests


@pytest.mark.parametrize("rate", [0, FAST])
async def test_counts_events_of_every_client(rate: float) -> None:
    body = json.dumps({"stream": True, "max_tokens": TOKENS})
    async with serving(rate) as port:
        seen = await work(Job("127.0.0.1", port, "", CHAT, body, clients=2, seconds=0.2))
    assert seen.failures == []
    # The window may cut the first and the last answer of each client.
    assert abs(seen.events - seen.requests * (TOKENS + 3)) <= 2 * 2 * (TOKENS + 3)
    assert seen.requests > 0 and len(seen.first_byte_s) > 0


async def test_gaps_are_those_within_a_stream() -> None:
    """There is none between one answer and the next."""
    body = json.dumps({"stream": True, "max_tokens": TOKENS})
    async with serving(0) as port:
        seen = await work(Job("127.0.0.1", port, "", CHAT, body, clients=1, seconds=0.2))
    # And one more at either end of the time.
    assert 0 < len(seen.gap_s) <= seen.events - seen.requests + 2


async def test_a_stream_that_stalls_has_a_gap_to_the_end() -> None:
    body = json.dumps({"stream": True, "max_tokens": TOKENS})
    async with serving(0.01) as port:
        seen = await work(Job("127.0.0.1", port, "", CHAT, body, clients=3, seconds=0.2))
    assert seen.failures == [] and seen.events == 0
    assert seen.gap_s == [pytest.approx(seen.seconds)] * 3


async def test_reports_refusals() -> None:
    async with serving(0, frozenset({"secret"})) as port:
        seen = await work(Job("127.0.0.1", port, "wrong", CHAT, "{}", clients=1, seconds=0))
    assert len(seen.failures) == 1 and seen.failures[0].startswith("401")


async def test_reports_that_nobody_listens() -> None:
    async with serving(0) as port:
        pass
    seen = await work(Job("127.0.0.1", port, "", CHAT, "{}", clients=2, seconds=0))
    assert len(seen.failures) == 2 and seen.failures[0].startswith("no connection")


async def test_idle_connections_are_open_meanwhile() -> None:
    opened: list[bool] = []
    async with serving(0) as port:
        job = Job("127.0.0.1", port, "", CHAT, '{"max_tokens": 1}', clients=1, seconds=0.1, idle=20)
        seen = await work(job, lambda: opened.append(True))
    assert opened == [True]
    assert seen.failures == [] and seen.requests > 0


async def test_reports_idle_connections_that_are_closed() -> None:
    async def slam(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        seen = await work(Job("127.0.0.1", port, "", CHAT, "{}", clients=1, seconds=0.1, idle=3))
    assert "3 idle connections were closed" in seen.failures


async def test_generator_is_a_process_of_its_own() -> None:
    def measured(port: int) -> Seen:
        job = job_of(Address("127.0.0.1", port, ""), CHAT, {"max_tokens": 1}, clients=2, seconds=0.1, idle=3)
        with Generator(job) as generator:
            generator.wait_until_idle()
            return generator.seen()

    async with serving(0) as port:
        seen = await asyncio.to_thread(measured, port)
    assert seen.requests > 0
