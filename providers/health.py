"""How an engine is asked about its load that answers 503 while it loads and 200 once it answers, as llama.cpp does."""

from collections.abc import Callable

from providers.base import Endpoint, Health, HealthState

HEALTH_PATH = "/health"
PROBE_TIMEOUT_S = 2.0


async def probe(endpoint: Endpoint, reason: Callable[[int, bytes], str]) -> Health:
    """`reason`: what any other status and its body mean."""
    # Every process imports every provider, and only slots' replicas ask engines.
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"{endpoint.url}{HEALTH_PATH}") as response,
        ):
            status, body = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError):
        return Health(HealthState.STARTING)
    if status == 200:
        return Health(HealthState.READY)
    if status == 503:
        return Health(HealthState.WARMING)
    return Health(HealthState.DEAD, detail=reason(status, body))
