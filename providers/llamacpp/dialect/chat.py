"""Chat completions: checked, and passed through wherever the engine means what OpenAI means."""

from collections.abc import Mapping

from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.openai.checks import (
    Check,
    array,
    boolean,
    check_fields,
    filled_array,
    integer_from,
    mapping,
    missing,
    one_of,
    required,
    string,
    text,
)
from providers.openai.content import check_content
from providers.openai.sampling import SAMPLING
from providers.openai.tools import check_tools, chosen, narrowed
from providers.spec import SlotSpec

_UNTOUCHED = Translation()
_ROLES = one_of("system", "developer", "user", "assistant", "tool", "function")
_CHAT: Mapping[str, Check] = {
    **SAMPLING,
    "logprobs": boolean,
    "top_logprobs": integer_from(0, 20),
    "parallel_tool_calls": boolean,
    "reasoning_effort": string,
}


def translate_chat(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://platform.openai.com/docs/api-reference/chat/create"""
    check_fields(body, _CHAT)
    check_messages(required(body, "messages"), slot)
    request = adapted(body)
    return _UNTOUCHED if request is body else Translation(request=request)


def adapted(body: JsonObject) -> JsonObject:
    """The body as the engine must see it; the same object where nothing needs to change."""
    request = body
    names = check_tools("tools", body["tools"]) if body.get("tools") is not None else []
    if body.get("tool_choice") is not None and (choice := chosen("tool_choice", body["tool_choice"], names)):
        request = narrowed(request, choice)
    if body.get("logprobs") and body.get("top_logprobs") == 0:
        # The engine sends no log probabilities at all without alternatives.
        request = request | {"top_logprobs": 1}
    return request


def translate_template(body: JsonObject, slot: SlotSpec) -> Translation:
    """llama.cpp's own `/apply-template`: a chat's prompt as text."""
    check_messages(required(body, "messages"), slot)
    if body.get("tools") is not None:
        check_tools("tools", body["tools"])
    return _UNTOUCHED


def check_messages(value: JsonValue, slot: SlotSpec) -> None:
    for i, message in enumerate(filled_array("messages", value)):
        _check_message(f"messages[{i}]", mapping(f"messages[{i}]", message), slot)


def _check_message(param: str, message: JsonObject, slot: SlotSpec) -> None:
    role = required(message, "role", f"{param}.")
    _ROLES(f"{param}.role", role)
    if (calls := message.get("tool_calls")) is not None:
        for i, call in enumerate(array(f"{param}.tool_calls", calls)):
            _check_call(f"{param}.tool_calls[{i}]", call)
    if (content := message.get("content")) is not None:
        check_content(f"{param}.content", content, slot)
    elif role != "assistant" or not (calls or message.get("function_call") or message.get("reasoning_content")):
        raise missing(f"{param}.content")


def _check_call(param: str, value: JsonValue) -> None:
    call = mapping(param, value)
    one_of("function")(f"{param}.type", required(call, "type", f"{param}."))
    function = mapping(f"{param}.function", required(call, "function", f"{param}."))
    for name in ("name", "arguments"):
        text(f"{param}.function.{name}", required(function, name, f"{param}.function."))
