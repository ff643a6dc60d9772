"""How a native engine is asked about its load: each such provider's `health`."""

from providers import health
from providers.base import Endpoint, Health
from providers.native.errors import engine_error


async def probe(endpoint: Endpoint) -> Health:
    return await health.probe(endpoint, lambda status, body: engine_error(status, body).message)
