"""A native engine that is stopped while clients come: none of them is left without a word."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from providers.base import Placement
from providers.devices import Device
from providers.native.server import NativeServer
from serve_app.engine import free_port

PATIENCE_S = 10.0


class Nothing:
    def close(self) -> None: ...


class Greeter(NativeServer[Nothing]):
    name, method, path = "greeter", "GET", "/"

    async def answer(self, request: web.Request, model: Nothing) -> web.StreamResponse:
        return web.Response(text="hello")


async def asked(port: int) -> str:
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer t"}) as session:
        try:
            async with asyncio.timeout(PATIENCE_S), session.get(f"http://127.0.0.1:{port}/") as response:
                return await response.text()
        except aiohttp.ClientError as error:
            return type(error).__name__


@pytest.mark.parametrize("turns", range(12))
async def test_who_comes_as_it_stops_is_answered_or_refused(tmp_path: Path, turns: int) -> None:
    port = free_port()
    placement = Placement(Device.CPU, "127.0.0.1", port, "t", tmp_path)
    server = Greeter(Nothing, placement, threads=1)
    await server.start()
    clients = [asyncio.create_task(asked(port)) for _ in range(3)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await server.stop()
    # None of them raises TimeoutError.
    assert len(await asyncio.gather(*clients)) == 3
