"""The routes, and the handlers that are short."""

import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from tests.emulators.flm import settings
from tests.emulators.flm.catalogue import NO_MODEL, Record
from tests.emulators.flm.chat import Chat
from tests.emulators.flm.console import say
from tests.emulators.flm.crash import crash
from tests.emulators.flm.embedding import embed
from tests.emulators.flm.fields import WrongType, need
from tests.emulators.flm.hearing import heard
from tests.emulators.flm.loaded import Loaded
from tests.emulators.flm.multipart import parts
from tests.emulators.flm.npu import Npu
from tests.emulators.flm.samples import decode
from tests.emulators.flm.wire import EventStream, Request, has_left

SHOWN: Record = {
    "modelfile": "",
    "parameters": "",
    "template": "",
    "details": {
        "parent_model": "",
        "format": "",
        "family": "",
        "families": [""],
        "parameter_size": "",
        "quantization_level": "",
    },
    "model_info": {"general.architecture": "flm"},
    "capabilities": ["chat", "vision", "completion"],
}
CANCEL = "POST /api/cancel"
BROKEN = {"error": "emulator: broken in the real program, and not emulated"}


@dataclass(slots=True)
class Exchange:
    """A request and the ways to answer it."""

    connection: socket.socket
    request: Request
    stream: EventStream = field(init=False)
    stopped: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.stream = EventStream(self.connection)

    def record(self) -> Record:
        """The body as JSON, whatever its type claims; `{}` without one. Raises `ValueError`."""
        try:
            body = json.loads(self.request.body) if self.request.body else {}
        except ValueError as error:
            raise ValueError(f"[json.exception.parse_error.101] parse error: {error}") from error
        return body if isinstance(body, dict) else {}

    def cancelled(self) -> bool:
        return self.stopped.is_set() or has_left(self.connection)


class Handlers:
    def __init__(self, loaded: Loaded, npu: Npu, asr: bool, embed: bool) -> None:
        self.npu = npu
        self._loaded, self._asr, self._embed = loaded, asr, embed
        self._chat = Chat(loaded)
        self._running: dict[str, Exchange] = {}
        self._count = 0
        self.routes: dict[str, Callable[[Exchange], object]] = {
            "GET /api/tags": self._tags,
            "GET /api/ps": self._loaded_now,
            "GET /api/version": self._version,
            "GET /api/npu/status": self._status,
            "GET /v1/version": self._version,
            "GET /v1/models": self._models,
            "POST /api/show": lambda _: SHOWN,
            "POST /api/generate": lambda _: BROKEN,
            "POST /api/chat": lambda _: BROKEN,
            "POST /api/embeddings": self._embeddings,
            "POST /api/pull": lambda _: {"error": "Pull operation not implemented"},
            CANCEL: self._cancel,
            "POST /v1/chat/completions": lambda exchange: self._chat.complete(
                exchange.record(), exchange.stream, exchange.cancelled
            ),
            "POST /v1/completions": lambda exchange: self._chat.continue_prompt(exchange.record()),
            "POST /v1/embeddings": self._embeddings,
            "POST /v1/audio/transcriptions": self._transcribe,
        }

    def handle(self, exchange: Exchange) -> object:
        """What is to be answered, unless it was streamed. While it runs, it can be cancelled by its `request_id`."""
        self._count += 1
        name = f"req_{self._count}"
        if "json" in exchange.request.content_type and exchange.request.route != CANCEL:
            name = str(exchange.record().get("request_id", name))
        self._running[name] = exchange
        try:
            return self.routes[exchange.request.route](exchange)
        finally:
            self._running.pop(name, None)

    def _cancel(self, exchange: Exchange) -> object:
        name = exchange.record().get("request_id")
        if name is None:
            return {"error": "request_id is required"}
        running = self._running.get(str(name))
        if running is None:
            return {"cancelled": False, "message": "Request not found or already completed"}
        running.stopped.set()
        return {"cancelled": True, "message": "Request cancelled successfully"}

    def _tags(self, _exchange: Exchange) -> object:
        shown = ("family", "parameter_size", "quantization_level")
        return {
            "models": [
                {"name": model.tag, "model": model.tag, "details": {key: model.details.get(key) for key in shown}}
                for model in self._loaded.catalogue.speaking
            ]
        }

    def _models(self, _exchange: Exchange) -> object:
        about = {"object": "model", "created": int(time.time()), "owned_by": "FastFlowLM"}
        return {"object": "list", "data": [{"id": model.tag} | about for model in self._loaded.catalogue.speaking]}

    def _loaded_now(self, _exchange: Exchange) -> object:
        model = self._loaded.model
        if model is None or self._loaded.current == NO_MODEL:
            crash("Assertion failed: the key exists")
        hour = time.strftime("%Y-%m-%dT%H:%M:%S.00000+00:00", time.gmtime(time.time() + 3600))
        about = {"size": model.number("size"), "details": model.details, "expires_at": hour}
        return {"models": [{"name": model.tag, "model": model.tag} | about]}

    def _version(self, _exchange: Exchange) -> object:
        return {"version": settings.version()}

    def _status(self, _exchange: Exchange) -> object:
        busy = self.npu.busy
        message = "NPU is currently in use" if busy else "NPU is available"
        return {"npu_available": not busy, "active_requests": int(busy), "message": message}

    def _embeddings(self, exchange: Exchange) -> object:
        try:
            body = exchange.record()
            model, inputs = need(body, "model", str), body.get("input")
            texts = [inputs] if isinstance(inputs, str) else inputs if isinstance(inputs, list) else []
            texts = [need({"text": text}, "text", str) for text in texts]
        except WrongType as error:
            return {"error": str(error)}
        if not self._embed:
            say("Warning", "No embedding model loaded")
            return None
        data = [{"object": "embedding", "embedding": embed(text), "index": place} for place, text in enumerate(texts)]
        return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 0, "total_tokens": 0}}

    def _transcribe(self, exchange: Exchange) -> object:
        """Of all fields, only `model` and `file` are read. A sound that cannot be decoded has no text."""
        boundary = re.search("boundary=(.*)$", exchange.request.content_type)
        if boundary is None:
            raise ValueError("Invalid multipart/form-data: boundary not found.")
        fields = parts(exchange.request.body, boundary[1])
        if not self._asr:
            say("Warning", "No asr model loaded, cannot load audio file")
            return None
        say("FLM", "Transforming audio to text...")
        words = heard(*decode(fields.get("file", b"")))
        model = fields.get("model", b"").decode(errors="replace")
        return {"model": model, "text": "".join(f" {word}" for word in words)}
