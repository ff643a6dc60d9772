"""The WebSocket of one session with an engine of speech recognition."""

import asyncio
import socket
import struct

import aiohttp

from providers.asr.messages import LARGEST_MESSAGE
from providers.base import Endpoint
from serve_app.dispatch import NotBegun
from serve_app.errors import BadRequest

OPENING_S = 10.0
"""For an engine that has said it is ready to open a session."""
DROP_WHAT_IS_LEFT = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: https://man7.org/linux/man-pages/man7/socket.7.html"""
CLOSING = aiohttp.ClientWSTimeout(ws_receive=None, ws_close=1.0)
BUSY = 503
"""What an engine answers that takes no session now: it is being stopped, or hears as many as it can."""


async def opened(
    http: aiohttp.ClientSession, slot: str, endpoint: Endpoint, path: str
) -> aiohttp.ClientWebSocketResponse:
    """Raises `NotBegun`. An engine refuses no session for what the client has said, so that another may do better: one
    that does not know the token, say, listens where the one that is meant has died."""
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    try:
        async with asyncio.timeout(OPENING_S):
            return await http.ws_connect(
                endpoint.url + path, headers=headers, compress=0, max_msg_size=LARGEST_MESSAGE, timeout=CLOSING
            )
    except aiohttp.WSServerHandshakeError as error:
        verdict = busy(slot, "its engine takes no more sessions now") if error.status == BUSY else None
        raise NotBegun(f"it answered {error.status} instead of opening a session", verdict) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotBegun(f"{type(error).__name__}: {error}") from error


def hang_up(engine: aiohttp.ClientWebSocketResponse) -> None:
    """At once, also for what the engine has not read yet: a close would wait behind that, and the engine would go on
    computing it for nobody."""
    connection = engine._response.connection
    if connection is None or connection.transport is None:
        return
    if (raw := connection.transport.get_extra_info("socket")) is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, DROP_WHAT_IS_LEFT)
    connection.transport.abort()


def busy(slot: str, why: str) -> BadRequest:
    return BadRequest(429, f"Slot '{slot}' is busy: {why}.", "slot_busy", "model")
