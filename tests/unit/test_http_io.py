"""Reading requests, and leaving when the client does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.datastructures import Headers
from starlette.types import Message

from serve_app.errors import Answer, BadRequest
from serve_app.http_io import ClientGone, parse_object, read_body, send_answer, until_client_leaves

GONE: Message = {"type": "http.disconnect"}


def receiving(*messages: Message) -> Callable[[], Awaitable[Message]]:
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    return receive


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    "messages", [(part(b"abc"),), (part(b"a", True), part(b"", True), part(b"bc")), (part(b"abc", True), part(b""))]
)
async def test_a_body_is_put_together(messages: tuple[Message, ...]) -> None:
    assert await read_body(Headers({"content-length": "3"}), receiving(*messages), 3) == b"abc"


async def test_no_body_is_an_empty_one() -> None:
    assert await read_body(Headers({}), receiving({"type": "http.request"}), 3) == b""


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(BadRequest) as refused:
        await read_body(Headers({"content-length": "4"}), never, 3)
    assert (refused.value.status, refused.value.code) == (413, "request_too_large")


@pytest.mark.parametrize("declared", [{}, {"content-length": "1"}, {"content-length": "²"}])
async def test_a_body_over_the_limit_is_refused_at_once(declared: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as refused:
        await read_body(Headers(declared), receiving(part(b"ab", True), part(b"cd", True)), 3)
    assert refused.value.status == 413


async def test_a_client_that_leaves_while_sending() -> None:
    with pytest.raises(ClientGone):
        await read_body(Headers({}), receiving(part(b"ab", True), GONE), 3)


@pytest.mark.parametrize("first", [(), (part(b"ab", True),)])
async def test_a_body_that_takes_too_long_is_refused(first: tuple[Message, ...]) -> None:
    left = list(first)

    async def receive() -> Message:
        return left.pop(0) if left else await never()

    with pytest.raises(BadRequest) as refused:
        await read_body(Headers({}), receive, 3, 0.05)
    assert (refused.value.status, refused.value.code) == (408, "upload_timeout")


def test_an_object_is_parsed() -> None:
    assert parse_object(b' {"a": [1, null, "\xc3\xa9"]} ') == {"a": [1, None, "é"]}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"a"', b"null", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": "\xff"}', b"{} {}", b"[" * 100_000],
    ids=lambda body: body[:10].decode("latin-1"),
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_object(body)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


async def others() -> set["asyncio.Task[object]"]:
    """Tasks beside this one, once those that were cancelled have ended."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_a_client_that_leaves_ends_the_work() -> None:
    ended = False
    with pytest.raises(ClientGone):
        async with until_client_leaves(receiving(part(b""), GONE)):
            try:
                await asyncio.Event().wait()
            finally:
                ended = True
    task = asyncio.current_task()
    assert task is not None
    assert ended and task.cancelling() == 0
    assert await others() == set()


async def test_a_client_that_stays_gets_its_answer() -> None:
    async with until_client_leaves(never):
        await asyncio.sleep(0)
    assert await others() == set()


async def test_an_error_of_the_work_passes_through() -> None:
    with pytest.raises(ValueError, match="ours"):
        async with until_client_leaves(never):
            raise ValueError("ours")
    assert await others() == set()


async def test_cancellation_from_elsewhere_is_not_the_clients() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with until_client_leaves(never):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await others() == set()


async def test_both_at_once_is_a_cancellation() -> None:
    begun, leave = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        await leave.wait()
        task.cancel()
        return GONE

    async def work() -> None:
        async with until_client_leaves(receive):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("retry_after_s", "expected"), [(None, None), (0.2, b"1"), (12.4, b"12")])
async def test_an_answer_says_when_to_try_again(retry_after_s: float | None, expected: bytes | None) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await send_answer(send, Answer(503, "no", "server_error", retry_after_s=retry_after_s), anthropic=False)
    headers = dict(sent[0]["headers"])
    assert (sent[0]["status"], headers.get(b"retry-after")) == (503, expected)
    assert headers[b"content-length"] == str(len(sent[1]["body"])).encode()


@pytest.mark.parametrize("coding", ["gzip", " GZIP", "br", "zstd"])
async def test_a_compressed_body_is_refused_as_such(coding: str) -> None:
    with pytest.raises(BadRequest, match=f"compressed .{coding.strip().lower()}") as raised:
        await read_body(Headers({"content-encoding": coding}), receiving(part(b"ab", False)), 3)
    assert (raised.value.status, raised.value.code) == (415, "unsupported_encoding")


@pytest.mark.parametrize("coding", ["", "identity", "UTF-8"])
async def test_what_is_no_compression_is_passed_over(coding: str) -> None:
    assert await read_body(Headers({"content-encoding": coding}), receiving(part(b"ab", False)), 3) == b"ab"
