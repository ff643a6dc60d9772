"""A client's WebSocket. Spec: https://asgi.readthedocs.io/en/latest/specs/www.html#websocket"""

import asyncio

from starlette.types import Receive, Send

from providers.base import JsonObject
from serve_app.audio.realtime_items import new_id
from serve_app.errors import Answer
from serve_app.http_io import ClientGone, dump_json

SUBPROTOCOL = "realtime"
"""What OpenAI's clients in browsers offer beside their key."""


class ClientSocket:
    """`send_s`: a client that takes so long to read is taken for gone."""

    def __init__(self, receive: Receive, send: Send, send_s: float) -> None:
        self._receive, self._send, self._send_s = receive, send, send_s

    async def accept(self, offered: list[str]) -> None:
        """Raises `ClientGone`."""
        if (await self._receive())["type"] != "websocket.connect":
            raise ClientGone
        await self._send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})

    async def receive(self) -> str | bytes:
        """Raises `ClientGone`."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise ClientGone
        text: str | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send(self, event: JsonObject) -> None:
        """With an id of its own. Raises `ClientGone`."""
        text = dump_json({"event_id": new_id("event"), **event}).decode()
        try:
            async with asyncio.timeout(self._send_s):
                await self._send({"type": "websocket.send", "text": text})
        except (OSError, TimeoutError) as error:
            raise ClientGone from error

    async def close(self, code: int, reason: str = "") -> None:
        try:
            async with asyncio.timeout(self._send_s):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (OSError, TimeoutError) as error:
            raise ClientGone from error


def error_event(answer: Answer, event_id: str | None = None) -> JsonObject:
    """`event_id` is that of the client's event which caused it."""
    error: JsonObject = {
        "type": answer.type,
        "code": answer.code,
        "message": answer.message,
        "param": answer.param,
        "event_id": event_id,
    }
    return {"type": "error", "error": error, **answer.extra}
