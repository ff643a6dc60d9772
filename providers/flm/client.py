"""HTTP as FLM speaks it: it shuts the socket after every answer, and tells most errors with status 200."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

import aiohttp

from providers.base import Endpoint, JsonObject
from providers.flm.dialect.errors import fault, unreadable
from providers.flm.dialect.routes import CHAT_PATH, EMBEDDINGS_PATH
from providers.flm.gone import EngineGone, EngineSilent
from providers.flm.roles import HEARING

TRANSCRIPTIONS_PATH, STATUS_PATH, VERSION_PATH = "/v1/audio/transcriptions", "/api/npu/status", "/api/version"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"


class FlmClient:
    """On the event loop that opens it. Every method raises `EngineGone` if the connection breaks or cannot be made,
    `EngineSilent` if nothing comes for `silence_s`, and `EngineError` for what FLM refuses."""

    def __init__(self, engine: Endpoint, silence_s: float) -> None:
        self._url, self._silence_s = engine.url, silence_s
        self._patience = aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s)
        self._http: aiohttp.ClientSession | None = None

    def open(self) -> None:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        self._http = aiohttp.ClientSession(connector=connector, timeout=self._patience)

    async def close(self) -> None:
        """Also ends what is under way."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def wait_for_load(self) -> None:
        """Until it answers: it accepts connections long before it reads from them."""
        async with self._asked("GET", VERSION_PATH, patience=aiohttp.ClientTimeout(total=None)) as response:
            await response.read()

    async def is_free(self) -> bool:
        """Whether the NPU computes nothing. One that does not tell counts as free."""
        async with self._asked("GET", STATUS_PATH) as response:
            body = await response.read()
        try:
            status = json.loads(body)
        except ValueError:
            return True
        return not (isinstance(status, dict) and status.get("npu_available") is False)

    @asynccontextmanager
    async def chat(self, request: JsonObject) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of the stream as they come. To leave it early makes FLM end its work."""
        async with self._asked("POST", CHAT_PATH, json.dumps(request).encode(), JSON) as response:
            if response.content_type != EVENT_STREAM:
                raise fault(response.status, await response.read()) or unreadable()
            yield response.content.iter_any()

    async def embed(self, request: JsonObject) -> JsonObject:
        async with self._asked("POST", EMBEDDINGS_PATH, json.dumps(request).encode(), JSON) as response:
            return _record(response.status, await response.read())

    async def transcribe(self, sound: bytes) -> str:
        """`sound` is a WAV file."""
        # FLM takes all that follows `boundary=` for the boundary: no quotes, and nothing after it.
        boundary = uuid4().hex
        body = _form(boundary, sound)
        kind = f"multipart/form-data; boundary={boundary}"
        async with self._asked("POST", TRANSCRIPTIONS_PATH, body, kind) as response:
            text = _record(response.status, await response.read()).get("text")
        return text if isinstance(text, str) else ""

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str | None = None,
        patience: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._http is None:
            raise EngineGone("it is being unloaded")
        headers: Mapping[str, str] = {} if kind is None else {"Content-Type": kind}
        url, timeout = f"{self._url}{path}", patience or self._patience
        try:
            async with self._http.request(method, url, data=body, headers=headers, timeout=timeout) as response:
                try:
                    yield response
                finally:
                    # Tells FLM at once that nobody reads a half-read answer.
                    response.close()
        except TimeoutError as error:
            raise EngineSilent(f"it has said nothing for {self._silence_s:g} s") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise EngineGone(f"its connection broke: {type(error).__name__}: {error}") from error


def _record(status: int, body: bytes) -> JsonObject:
    error = fault(status, body)
    answer = None if error else json.loads(body)
    if not isinstance(answer, dict):
        raise error or unreadable()
    return answer


def _form(boundary: str, sound: bytes) -> bytes:
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{HEARING}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="speech.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    return head.encode() + sound + f"\r\n--{boundary}--\r\n".encode()
