"""Forms on their way in: in any order and any pieces, too large, too slow, broken, and given up."""

import asyncio
import errno
import os
import random
import tracemalloc
from collections.abc import Awaitable, Callable
from tempfile import SpooledTemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.types import Message

from serve_app.audio import upload
from serve_app.audio.form import LARGEST_FIELD, MOST_FIELDS
from serve_app.audio.upload import Form, UploadLimits, uploaded
from serve_app.errors import BadRequest
from serve_app.http_io import ClientGone
from tests.support.audio_upload import BOUNDARY, CONTENT_TYPE, file_part, form, text_part

PATIENCE_S = 30.0
GONE: Message = {"type": "http.disconnect"}
LIMITS = UploadLimits()
Receive = Callable[[], Awaitable[Message]]
WHOLE = form([text_part("model", "m"), file_part(b"sound")])


def sending(body: bytes, piece: int = 1000) -> Receive:
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)] or [b""]

    async def receive() -> Message:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    return receive


async def read(receive: Receive, limits: UploadLimits = LIMITS, **headers: str) -> tuple[bytes, list[tuple[str, str]]]:
    given = {"content-type": CONTENT_TYPE} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with asyncio.timeout(PATIENCE_S), uploaded(Headers(given), receive, limits) as found:
        return found.file.read(), list(found.fields)


async def refused(receive: Receive, limits: UploadLimits = LIMITS, **headers: str) -> BadRequest:
    with pytest.raises(BadRequest) as refusal:
        await read(receive, limits, **headers)
    return refusal.value


@given(
    st.lists(st.tuples(st.sampled_from(["model", "prompt", "include[]"]), st.text(max_size=20)), max_size=4),
    st.binary(max_size=200),
    st.integers(0, 4),
    st.integers(1, 100),
)
async def test_fields_in_any_order_and_pieces_of_any_size(
    fields: list[tuple[str, str]], content: bytes, at: int, piece: int
) -> None:
    parts = [text_part(name, value) for name, value in fields]
    parts.insert(at, file_part(content))
    assert await read(sending(form(parts), piece)) == (content, fields)


async def test_a_large_file_goes_to_the_disk_and_takes_little_memory() -> None:
    block = os.urandom(2**16)
    count = 400
    head, tail = form([file_part(b"|")]).split(b"|")

    sent = -1

    async def receive() -> Message:
        nonlocal sent
        sent += 1
        body = head if sent == 0 else block if sent <= count else tail
        return {"type": "http.request", "body": body, "more_body": sent <= count}

    tracemalloc.start()
    try:
        headers = Headers({"content-type": CONTENT_TYPE})
        async with uploaded(headers, receive, UploadLimits()) as found:
            _, peak = tracemalloc.get_traced_memory()
            for _ in range(count):
                assert found.file.read(len(block)) == block
            assert found.file.read() == b""
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000 < count * len(block)


async def test_the_file_is_gone_afterwards() -> None:
    kept: list[Form] = []
    with pytest.raises(ValueError, match="ours"):
        async with uploaded(Headers({"content-type": CONTENT_TYPE}), sending(WHOLE), UploadLimits()) as found:
            kept.append(found)
            raise ValueError("ours")
    assert kept[0].file.closed


class Watched(SpooledTemporaryFile[bytes]):
    made: "list[Watched]" = []

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.made.append(self)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    monkeypatch.setattr(upload, "SpooledTemporaryFile", Watched)
    monkeypatch.setattr(Watched, "made", [])
    return Watched.made


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def then(first: bytes, last: Receive) -> Receive:
    left = [first[at : at + 2**20] for at in range(0, len(first), 2**20)]

    async def receive() -> Message:
        return {"type": "http.request", "body": left.pop(0), "more_body": True} if left else await last()

    return receive


async def gone() -> Message:
    return GONE


BEGUN = form([file_part(bytes(5_000_000))])[:-100]


async def test_a_client_that_leaves(files: list[Watched]) -> None:
    with pytest.raises(ClientGone):
        await read(then(BEGUN, gone))
    assert [file.closed for file in files] == [True]


async def test_a_client_that_takes_for_ever(files: list[Watched]) -> None:
    error = await refused(then(BEGUN, never), UploadLimits(timeout_s=0.3))
    assert (error.status, error.code) == (408, "upload_timeout")
    assert [file.closed for file in files] == [True]


async def test_cancelled_while_it_is_written(files: list[Watched]) -> None:
    for delay_s in (0.0, 0.001, 0.003, 0.01):
        task = asyncio.create_task(read(then(BEGUN, never)))
        await asyncio.sleep(delay_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert all(file.closed for file in files)


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    error = await refused(never, UploadLimits(max_bytes=1000), content_length="1001")
    assert (error.status, error.code) == (413, "request_too_large")


async def test_a_form_over_the_limit_is_refused_at_once(files: list[Watched]) -> None:
    error = await refused(then(BEGUN, never), UploadLimits(max_bytes=3_000_000))
    assert (error.status, error.code) == (413, "request_too_large")
    assert [file.closed for file in files] == [True]


async def test_a_full_disk(files: list[Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Watched, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Watched, "write", full)
    error = await refused(then(BEGUN, never))
    assert (error.status, error.code) == (507, "no_disk_space")
    assert [file.closed for file in files] == [True]


@pytest.mark.parametrize("content_type", ["", "application/json", "audio/wav", "application/x-www-form-urlencoded"])
async def test_what_is_no_form_with_a_file_is_refused_unread(content_type: str) -> None:
    error = await refused(never, content_type=content_type)
    assert (error.status, error.code) == (415, "unsupported_media_type")
    assert "multipart/form-data" in error.message


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (form([text_part("model", "m")]), "missing_file", "file"),
        (form([]), "missing_file", "file"),
        (form([text_part("file", "sound")]), "missing_file", "file"),
        (form([file_part(b"a"), file_part(b"b")]), "duplicate_field", "file"),
        (form([text_part("prompt", "x" * (LARGEST_FIELD + 1)), file_part(b"a")]), "field_too_large", "prompt"),
        (form([file_part(bytes(LARGEST_FIELD + 1), name="other"), file_part(b"a")]), "field_too_large", "other"),
        (form([*[text_part("a", "b")] * (MOST_FIELDS + 1), file_part(b"a")]), "invalid_form", None),
        (form([file_part(b"\xff", name="model"), file_part(b"a")]), "invalid_form", None),
        (WHOLE[: -len(BOUNDARY)], "invalid_form", None),
        (b"", "invalid_form", None),
        (b"no form at all", "invalid_form", None),
        (form([b"--" + BOUNDARY.encode() + b"\r\nContent-Type: text/plain\r\n\r\nx\r\n"]), "invalid_form", None),
        (form([b"--" + BOUNDARY.encode() + b"\r\nX: " + b"x" * 100_000 + b"\r\n\r\nx\r\n"]), "invalid_form", None),
    ],
)
async def test_forms_that_are_wrong(body: bytes, code: str, param: str | None) -> None:
    error = await refused(sending(body))
    assert (error.status, error.code, error.param) == (400, code, param)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 300])
async def test_boundaries_that_are_wrong(content_type: str) -> None:
    assert (await refused(sending(WHOLE), content_type=content_type)).code == "invalid_form"


async def test_noise_is_survived() -> None:
    chance = random.Random(4)
    for _ in range(500):
        body = bytearray(form([text_part("model", "m"), file_part(b"sound"), text_part("language", "en")]))
        for _ in range(chance.randrange(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        try:
            await read(sending(bytes(body), chance.randrange(1, 50)))
        except BadRequest as error:
            assert error.status == 400
