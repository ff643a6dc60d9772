"""What an engine speaks, as it comes: the client's side of `providers.tts.messages`."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from providers.base import Endpoint, Route
from providers.tts.messages import RATE_HEADER
from serve_app.audio.encode import SAMPLE_BYTES
from serve_app.audio.engine_socket import BUSY, busy
from serve_app.dispatch import NotBegun
from serve_app.errors import EngineDied

UNAUTHORIZED = 401
RATES = range(8_000, 192_001)


class Speaking:
    """An answer of an engine that has begun to speak."""

    def __init__(self, slot: str, upstream: aiohttp.ClientResponse) -> None:
        self._slot, self._upstream = slot, upstream
        self.rate = self._rate()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Whole samples, at `rate` Hz. Raises `EngineDied` if they break off."""
        rest = b""
        try:
            async for chunk in self._upstream.content.iter_any():
                data = rest + chunk
                whole = len(data) - len(data) % SAMPLE_BYTES
                rest = data[whole:]
                if whole:
                    yield data[:whole]
        except aiohttp.ClientError as error:
            raise EngineDied(self._slot, f"{type(error).__name__} in mid-speech") from error
        if rest:
            raise EngineDied(self._slot, "its last sample is not whole")

    def _rate(self) -> int:
        text = self._upstream.headers.get(RATE_HEADER, "")
        if not text.isdecimal() or int(text[:9]) not in RATES:
            raise EngineDied(self._slot, f"it answered without a usable {RATE_HEADER}")
        return int(text)


@asynccontextmanager
async def spoken(
    http: aiohttp.ClientSession, slot: str, endpoint: Endpoint, route: Route, body: bytes
) -> AsyncIterator[Speaking]:
    """The connection is closed afterwards if the speech was not read to its end, which ends the engine's work.

    Raises `NotBegun` if the engine went away or takes no more requests, and what the engine refuses.
    """
    headers = {"Authorization": f"Bearer {endpoint.token}", "Content-Type": "application/json"}
    try:
        upstream = await http.post(endpoint.url + route.path, data=body, headers=headers)
    except aiohttp.ClientError as error:
        raise NotBegun(f"{type(error).__name__}: {error}") from error
    try:
        if upstream.status != 200:
            raise await _refusal(slot, route, upstream)
        yield Speaking(slot, upstream)
    finally:
        if upstream.content.at_eof():
            upstream.release()
        else:
            upstream.close()


async def _refusal(slot: str, route: Route, upstream: aiohttp.ClientResponse) -> Exception:
    """One that does not know the token listens where the engine that is meant has died: another may do better."""
    try:
        body = await upstream.read()
    except aiohttp.ClientError as error:
        return NotBegun(f"{type(error).__name__}: {error}")
    if upstream.status in (BUSY, UNAUTHORIZED):
        verdict = busy(slot, "its engine takes no more requests now") if upstream.status == BUSY else None
        return NotBegun(f"it answered {upstream.status}", verdict)
    return route.error(upstream.status, body)
