"""The routes of sound as the server has them."""

import asyncio
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from starlette.routing import Router

from serve_app.audio.routes import audio_routes
from serve_app.config import IngressConfig
from serve_app.directory import SlotDirectory
from serve_app.errors import BadRequest
from serve_app.patience import Patience
from serve_app.settings import Settings


async def no_slot(name: str) -> None:
    raise AssertionError(name)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_session_without_a_websocket_is_told_what_is_missing(method: str, tmp_path: Path) -> None:
    """A proxy that drops `Upgrade` made a path of what the documentation shows look unknown."""
    patience = Patience(1.0, lambda name: cast(Any, None), no_slot)
    directory, limits = SlotDirectory(()), IngressConfig()
    async with aiohttp.ClientSession() as http:
        router = Router(list(audio_routes(directory, {}, http, patience, limits, Settings(tmp_path, ()))))
        scope = {"type": "http", "method": method, "path": "/v1/realtime", "headers": [], "query_string": b""}
        never = asyncio.Event()
        with pytest.raises(BadRequest, match="Upgrade") as refused:
            await router(scope, cast(Any, never.wait), cast(Any, never.wait))
    assert (refused.value.status, refused.value.code) == (400, "websocket_required")
