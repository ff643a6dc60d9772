"""Clients that leave in mid-request, in Serve's words and in ASGI's."""

import asyncio

import pytest
from ray.exceptions import ActorDiedError, TaskCancelledError
from starlette.types import Message

from serve_app.hang_up import told_as_asgi
from serve_app.http_io import ClientGone, until_client_leaves

LEFT = {"http": {"type": "http.disconnect"}, "websocket": {"type": "websocket.disconnect", "code": 1006}}


class Serve:
    """Its `receive`: the error once, and then nothing ever."""

    def __init__(self, *told: Message | Exception) -> None:
        self._told = list(told)

    async def receive(self) -> Message:
        if not self._told:
            await asyncio.Event().wait()
        one = self._told.pop(0)
        if isinstance(one, Exception):
            raise one
        return one


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("error", [TaskCancelledError(), ActorDiedError()])
async def test_a_cancelled_proxy_is_a_client_that_left(kind: str, error: Exception) -> None:
    """It was a traceback in the log and a 500 in the access log."""
    first = {"type": "http.request", "body": b"x", "more_body": True}
    receive = told_as_asgi({"type": kind}, Serve(first, error).receive)
    async with asyncio.timeout(10):
        assert [await receive() for _ in range(3)] == [first, LEFT[kind], LEFT[kind]]


async def test_work_for_it_ends() -> None:
    receive = told_as_asgi({"type": "http"}, Serve(TaskCancelledError()).receive)
    with pytest.raises(ClientGone):
        async with asyncio.timeout(10), until_client_leaves(receive):
            await asyncio.Event().wait()


async def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ValueError, match="broken"):
        await told_as_asgi({"type": "http"}, Serve(ValueError("broken")).receive)()
