"""When FLM's models are ready: it lists and accepts what it cannot compute, and says so with status 200."""

import asyncio

from providers.capabilities import Capability
from providers.errors import EngineError, ProviderError
from providers.flm.engine import FlmEngine
from providers.flm.gone import EngineGone
from providers.flm.options import FlmSlot
from providers.flm.roles import EMBEDDING

AGAIN_S = 0.1


async def loaded(engine: FlmEngine, slot: FlmSlot) -> None:
    """Until chats and embeddings have been computed once. Raises `ProviderError` with what FLM says instead.

    A process that goes away is not this one's to judge: its exit code tells more.
    """
    while True:
        try:
            await engine.wait_for_load()
            return await _tried(engine, slot)
        except EngineGone:
            if engine.gone:
                raise
            await asyncio.sleep(AGAIN_S)


async def _tried(engine: FlmEngine, slot: FlmSlot) -> None:
    if slot.offers(Capability.CHAT):
        try:
            if not await engine.speaks():
                raise ProviderError(f"{slot.model} answers a chat with nothing.")
        except EngineError as error:
            raise ProviderError(f"{slot.model} does not chat: {_said(error)}.") from error
    if slot.offers(Capability.EMBEDDING):
        try:
            await engine.embed(["Hi"])
        except EngineError as error:
            raise ProviderError(f"{EMBEDDING} does not embed: {_said(error)}.") from error


def _said(error: EngineError) -> str:
    return error.message.rstrip(".!")
