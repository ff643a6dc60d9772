"""How a native engine is asked about its load: each such provider's `health`."""

import aiohttp

from providers.base import Endpoint, Health, HealthState
from providers.native.errors import engine_error

HEALTH_PATH = "/health"
PROBE_TIMEOUT = aiohttp.ClientTimeout(total=2)


async def probe(endpoint: Endpoint) -> Health:
    try:
        async with (
            aiohttp.ClientSession(timeout=PROBE_TIMEOUT) as http,
            http.get(f"{endpoint.url}{HEALTH_PATH}") as response,
        ):
            status, body = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError):
        return Health(HealthState.STARTING)
    if status == 200:
        return Health(HealthState.READY)
    if status == 503:
        return Health(HealthState.WARMING)
    return Health(HealthState.DEAD, detail=engine_error(status, body).message)
