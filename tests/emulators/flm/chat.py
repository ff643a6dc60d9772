"""/v1/chat/completions and /v1/completions."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.emulators.flm.catalogue import Record
from tests.emulators.flm.console import say
from tests.emulators.flm.fields import WrongType, get, need
from tests.emulators.flm.loaded import Loaded
from tests.emulators.flm.prompts import PromptCache, last_text, merged, texts
from tests.emulators.flm.speaking import pieces
from tests.emulators.flm.usage import Usage
from tests.emulators.flm.wire import EventStream

DEFAULT_LIMIT = 4096
NUMBERS = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
REASONING = "The user greets me."
TOO_LONG = {"error": {"message": "Max length reached!", "type": "model_error", "code": 400}}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is read of a request; all else is ignored."""

    messages: list[Record]
    model: str
    stream: bool
    limit: int
    tool: Record | None
    thinks: bool

    @property
    def prompt(self) -> str:
        return last_text(self.messages)


class Chat:
    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._cache = PromptCache()
        self._tool_calls = 0

    def complete(self, body: Record, stream: EventStream, cancelled: Callable[[], bool]) -> object:
        """The answer, unless it was streamed. Errors come with status 200, but for a prompt that is too long."""
        try:
            asked = self._read(body)
        except WrongType as error:
            return {"error": {"message": str(error), "type": "server_error", "code": 500}}
        started = time.monotonic()
        if not self._loaded.ensure(asked.model):
            return {"error": f"Failed to load {asked.model} model!"}
        usage = Usage(self._loaded.context, load_s=time.monotonic() - started)
        usage.prompt, usage.cached = self._cache.count(asked.model, texts(asked.messages))
        say("FLM", "Start prefill...")
        if usage.prompt >= self._loaded.context:
            self._cache.forget()
            return TOO_LONG
        if cancelled() and not asked.stream:
            say("❌ ", "Prefill Cancelled!")
            return None
        say("FLM", "Start generating...")
        if asked.stream:
            self._stream(asked, usage, stream, cancelled)
            return None
        return self._whole(asked, usage, cancelled)

    def continue_prompt(self, body: Record) -> object:
        """The older interface; it does not wait for the NPU, and does not stream here."""
        try:
            prompt, model = need(body, "prompt", str), get(body, "model", self._loaded.current, str)
            limit = get(body, "max_tokens", DEFAULT_LIMIT, int)
            if get(body, "stream", False, bool):
                raise WrongType("emulator: streams of /v1/completions are not emulated")
            if self._loaded.catalogue.find(model) is None:
                raise WrongType(f"Model {model} is not supported.")
        except WrongType as error:
            return {"error": {"message": str(error), "type": "server_error", "code": 500}}
        if not self._loaded.ensure(model):
            return {"error": f"Failed to load {model} model!"}
        usage = Usage(self._loaded.context, load_s=0)
        usage.prompt = len(prompt.split())
        message: Record = {"role": "user", "content": prompt}
        text = "".join(_limited(pieces([message], prompt, limit), usage, limit, lambda: False))
        return {
            "id": "fastflowlm-chat-completion",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": "stop"}],
            "usage": usage.counts(),
        }

    def _read(self, body: Record) -> Asked:
        """Raises `WrongType`."""
        messages = [message for message in need(body, "messages", list) if isinstance(message, dict)]
        for name in NUMBERS:
            get(body, name, 0.0, float)
        tools = get(body, "tools", [], list)
        asks_tool = bool(tools) and bool(messages) and messages[-1].get("role") == "user"
        other = get(body, "max_completion_tokens", DEFAULT_LIMIT, int)
        return Asked(
            merged(messages),
            get(body, "model", self._loaded.current, str),
            get(body, "stream", False, bool),
            get(body, "max_tokens", other, int),
            _function(tools[0]) if asks_tool else None,
            get(body, "think", False, bool),
        )

    def _whole(self, asked: Asked, usage: Usage, cancelled: Callable[[], bool]) -> Record:
        message: Record = {"role": "assistant"}
        if asked.thinks:
            message["reasoning_content"] = REASONING
        if asked.tool is not None:
            message["tool_calls"] = [{"index": 0, "id": f"call_{int(time.time())}"} | _call(asked.tool)]
            usage.generated = 12
        else:
            spoken = _limited(pieces(asked.messages, asked.prompt, asked.limit), usage, asked.limit, cancelled)
            message["content"] = "".join(spoken)
        self._remember(asked, usage, str(message.get("content", "")))
        # Never "length" here, not even where the limit cut it.
        choice = {"index": 0, "message": message, "logprobs": None}
        return {
            "id": "fastflowlm-chat-completion",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": asked.model,
            "choices": [choice | {"finish_reason": "tool_calls" if asked.tool else "stop"}],
            "usage": usage.record(),
            "service_tier": "default",
        }

    def _stream(self, asked: Asked, usage: Usage, stream: EventStream, cancelled: Callable[[], bool]) -> None:
        head: Record = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": asked.model,
        }
        said = ""
        for delta in self._deltas(asked, usage, cancelled):
            said += str(delta.get("content", ""))
            stream.send(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        reason = "tool_calls" if asked.tool is not None and usage.reason == "stop" else usage.reason
        self._remember(asked, usage, said)
        choice = {"index": 0, "delta": {"content": None}, "finish_reason": reason}
        fingerprint = f"fp_{secrets.token_hex(8)}"
        stream.send(head | {"system_fingerprint": fingerprint, "choices": [choice], "usage": usage.streamed()})
        stream.send("[DONE]")
        stream.end()

    def _deltas(self, asked: Asked, usage: Usage, cancelled: Callable[[], bool]) -> Iterator[Record]:
        if asked.thinks:
            yield {"role": "assistant", "reasoning_content": REASONING}
        if asked.tool is not None:
            # The index grows over all requests, and the id is the name of a function in the real program.
            yield {"tool_calls": [{"index": self._tool_calls, "id": "generate_id()"} | _call(asked.tool)]}
            self._tool_calls += 1
            usage.generated = 12
            return
        spoken = pieces(asked.messages, asked.prompt, asked.limit)
        for piece in _limited(spoken, usage, asked.limit, cancelled):
            yield {"role": "assistant", "content": piece}

    def _remember(self, asked: Asked, usage: Usage, said: str) -> None:
        if usage.reason == "cancel":
            say("❌ ", "Generation Cancelled!")
            self._cache.forget()
        else:
            self._cache.keep([*texts(asked.messages), said])


def _limited(spoken: Iterator[str], usage: Usage, limit: int, cancelled: Callable[[], bool]) -> Iterator[str]:
    """Counts, and stops for the limit, for a full context and for a client that has left.

    The first token is not counted: a limit of 1 lets two through.
    """
    usage.start()
    for order, piece in enumerate(spoken):
        if cancelled():
            usage.reason = "cancel"
            say("🔴 ", "Client disconnected; cancelling active request")
            return
        usage.generated = max(1, order)
        yield piece
        if 0 < limit <= order or usage.full:
            usage.reason = "length"
            return


def _function(tool: object) -> Record | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function if isinstance(function, dict) else None


def _call(function: Record) -> Record:
    """With `x` for each argument."""
    parameters = function.get("parameters")
    properties = parameters.get("properties", {}) if isinstance(parameters, dict) else {}
    arguments = json.dumps(dict.fromkeys(properties, "x"), separators=(",", ":"))
    return {"type": "function", "function": {"name": function.get("name"), "arguments": arguments}}
