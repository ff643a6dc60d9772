"""Chats, completions and Responses: checked, and passed through wherever vLLM means what OpenAI means."""

from collections.abc import Mapping
from dataclasses import replace

from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.errors import UnsupportedRequest
from providers.openai.checks import Check, boolean, check_fields, integer_from, required
from providers.openai.messages import check_messages
from providers.openai.responses import translation
from providers.openai.sampling import CHAT, SAMPLING
from providers.openai.tools import check_tools, chosen, narrowed
from providers.spec import SlotSpec
from providers.vllm.dialect.streams import Chained, ChatEvents
from providers.vllm.options import VllmSlot

_COMPLETION: Mapping[str, Check] = {
    **SAMPLING,
    "logprobs": integer_from(0, 20),
    "best_of": integer_from(1),
    "echo": boolean,
}
_RENAMED = {"repeat_penalty": "repetition_penalty"}
"""llama.cpp's names, which clients of this server may use for any slot."""
_NO_LIMIT = -1
_LIMITS = ("max_tokens", "max_completion_tokens")


def translate_chat(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://platform.openai.com/docs/api-reference/chat/create"""
    check_fields(body, CHAT)
    check_messages(required(body, "messages"), slot)
    request = _chat(body, slot)
    reasons = isinstance(slot, VllmSlot) and slot.options.reasoning_parser is not None
    return Translation(
        None if request is body else request, response=with_reasoning if reasons else None, stream=ChatEvents()
    )


def translate_completion(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://platform.openai.com/docs/api-reference/completions/create"""
    check_fields(body, _COMPLETION)
    required(body, "prompt")
    best_of, n = body.get("best_of") or 1, body.get("n") or 1
    if isinstance(best_of, int) and isinstance(n, int) and best_of > n:
        raise UnsupportedRequest("'best_of' above 'n' is not supported: ask for 'n' and choose.", "best_of")
    request = _adapted(body)
    return Translation(None if request is body else request, stream=ChatEvents())


def translate_responses(body: JsonObject, slot: SlotSpec) -> Translation:
    """Over chat: vLLM's own route refuses tools of OpenAI's that agents list with theirs."""
    over_chat = translation(body, slot, lambda chat: _chat(chat, slot))
    respond, stream = over_chat.response, over_chat.stream
    assert respond is not None and stream is not None
    return replace(
        over_chat,
        response=lambda answer: respond(with_reasoning(answer)),
        stream=Chained(ChatEvents(), stream),
    )


def with_reasoning(answer: JsonValue) -> JsonValue:
    """What a model thought is `reasoning_content`, as with other engines."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict) and "reasoning" in message:
            message["reasoning_content"] = message.pop("reasoning")
    return answer


def _chat(body: JsonObject, slot: SlotSpec) -> JsonObject:
    """The body as the engine must see it; the same object where nothing needs to change."""
    request = _adapted(body)
    if body.get("tools") is None:
        return request
    names, choice = check_tools("tools", body["tools"]), body.get("tool_choice")
    # One function by its name it knows itself.
    if choice is not None and (wanted := chosen("tool_choice", choice, names)) and not _is_function(choice):
        request = narrowed(request, wanted)
    if names and request.get("tool_choice") in (None, "auto") and not _finds_calls(slot):
        raise UnsupportedRequest(
            f"The slot '{slot.name}' cannot leave the choice of tools to its model: it has no "
            "options.tool_call_parser. Ask with tool_choice 'required', 'none' or one function.",
            "tools",
        )
    return request


def _is_function(choice: JsonValue) -> bool:
    return isinstance(choice, dict) and choice.get("type") == "function"


def _finds_calls(slot: SlotSpec) -> bool:
    return isinstance(slot, VllmSlot) and slot.options.tool_call_parser is not None


def _adapted(body: JsonObject) -> JsonObject:
    dropped = {name for name in _LIMITS if body.get(name) == _NO_LIMIT}
    if not dropped and not any(name in body for name in _RENAMED):
        return body
    return {_RENAMED.get(name, name): value for name, value in body.items() if name not in dropped}
