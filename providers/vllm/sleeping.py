"""vLLM's sleep mode: https://docs.vllm.ai/en/latest/features/sleep_mode.html. Its routes ask for no key."""

from providers.base import Endpoint, JsonObject
from providers.errors import ProviderError

SLEEP_TIMEOUT_S = 300.0
"""To move weights out takes seconds, and to read them anew as long as a load."""


async def sleep(endpoint: Endpoint, level: int) -> None:
    """Raises `ProviderError`."""
    async with _Control(endpoint) as engine:
        # Those that are being answered, if there are any, are answered.
        await engine.post(f"/sleep?level={level}&mode=wait")
        await engine.require_sleeping(True)


async def wake(endpoint: Endpoint, level: int) -> None:
    """Raises `ProviderError`."""
    async with _Control(endpoint) as engine:
        if level == 1:
            await engine.post("/wake_up")
        else:
            await engine.post("/wake_up?tags=weights")
            await engine.post("/collective_rpc", {"method": "reload_weights"})
            await engine.post("/wake_up?tags=kv_cache")
        await engine.require_sleeping(False)


class _Control:
    """One conversation with an engine."""

    def __init__(self, endpoint: Endpoint) -> None:
        import aiohttp

        self._http = aiohttp.ClientSession(
            endpoint.url,
            timeout=aiohttp.ClientTimeout(total=SLEEP_TIMEOUT_S),
            headers={"Authorization": f"Bearer {endpoint.token}"},
        )

    async def __aenter__(self) -> "_Control":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def post(self, path: str, body: JsonObject | None = None) -> None:
        await self._ask("POST", path, body)

    async def require_sleeping(self, wanted: bool) -> None:
        answer = await self._ask("GET", "/is_sleeping")
        if not isinstance(answer, dict) or answer.get("is_sleeping") is not wanted:
            raise ProviderError(f"/is_sleeping answered {answer}")

    async def _ask(self, method: str, path: str, body: JsonObject | None = None) -> object:
        import aiohttp

        try:
            async with self._http.request(method, path, json=body) as response:
                if response.status != 200:
                    raise ProviderError(f"{path} answered {response.status}: {(await response.text())[:500]}")
                return await response.json() if response.content_type == "application/json" else None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ProviderError(f"{path}: {type(error).__name__}: {error}") from error
