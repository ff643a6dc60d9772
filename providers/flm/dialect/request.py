"""What FastFlowLM gets for a chat: https://github.com/ROCm/FastFlowLM/blob/main/src/server/rest_handler.cpp"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import JsonValue

from providers.base import JsonObject
from providers.flm.options import FlmSlot
from providers.openai.checks import filled_array, required

SETTINGS: Mapping[str, JsonValue] = MappingProxyType(
    {
        "temperature": 0.8,
        "top_p": 0.95,
        "top_k": 40,
        "min_p": 0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "think": False,
        "reasoning_effort": "medium",
    }
)
"""All of them go along with every request, since FLM keeps each for the next one. The first three are llama.cpp's
defaults, in the middle of what FLM sets for its own models (0.6 to 1.0, 0.95, 10 to 64): with OpenAI's 1 and 1, small
models ramble. `min_p` is read as a whole number. FLM thinks when asked."""
MOST_CANDIDATES = 1024
"""FLM samples from uninitialised memory for a `top_k` of 0, and past the vocabulary's end for one beyond it."""
COLDEST = 0.01
"""Below it, FLM would divide its way to infinity; the likeliest token is meant."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    engine: JsonObject
    """FLM's body; it always streams."""
    stream: bool
    include_usage: bool
    stop: tuple[str, ...]
    max_tokens: int | None
    model: str
    """What the client sees."""


def chat_request(body: JsonObject, slot: FlmSlot) -> ChatRequest:
    """`body` is as `chat.simplified` makes it. Raises `InvalidRequest` if it has no messages."""
    messages = filled_array("messages", required(body, "messages"))
    limit, stop, options = body.get("max_tokens"), body.get("stop"), body.get("stream_options")
    most = limit if isinstance(limit, int) else None
    engine: JsonObject = {
        "model": slot.model,
        "messages": messages,
        "stream": True,
        # FLM would stop after 4096.
        "max_tokens": most or slot.context_size,
        **_settings(body),
    }
    if body.get("tools"):
        engine["tools"] = body["tools"]
    return ChatRequest(
        engine,
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        stop=tuple(text for text in stop if isinstance(text, str)) if isinstance(stop, list) else (),
        max_tokens=most,
        model=slot.name,
    )


def _settings(body: JsonObject) -> JsonObject:
    settings: JsonObject = {name: body.get(name, default) for name, default in SETTINGS.items()}
    top = settings["top_k"]
    if not isinstance(top, int) or not 1 <= top <= MOST_CANDIDATES:
        top = MOST_CANDIDATES
    heat = settings["temperature"]
    if isinstance(heat, int | float) and heat < COLDEST:
        # FLM takes 0 for 1.
        return settings | {"temperature": 0, "top_k": 1}
    return settings | {"top_k": top}
