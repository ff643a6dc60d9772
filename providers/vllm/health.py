"""How vLLM is asked whether it answers: its port is closed until its model is loaded."""

from http import HTTPStatus

from providers.base import Endpoint, Health, HealthState
from providers.health import HEALTH_PATH, PROBE_TIMEOUT_S

MODELS_PATH = "/v1/models"


async def probe(endpoint: Endpoint) -> Health:
    """`/health` answers 503 when the process that computes has ended; the list of models wants the key."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    try:
        async with aiohttp.ClientSession(endpoint.url, timeout=timeout, headers=headers) as http:
            for path in (HEALTH_PATH, MODELS_PATH):
                async with http.get(path) as response:
                    if response.status != HTTPStatus.OK:
                        return Health(HealthState.DEAD, detail=_reason(path, response.status))
    except aiohttp.ClientConnectorError:
        return Health(HealthState.STARTING)
    except (aiohttp.ClientError, TimeoutError):
        return Health(HealthState.WARMING)
    return Health(HealthState.READY)


def _reason(path: str, status: int) -> str:
    match status:
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return "the process that computes has ended"
        case HTTPStatus.UNAUTHORIZED:
            return "another server answers on its port"
        case _:
            return f"{path} answered {status}"
