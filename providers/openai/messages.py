"""A chat's messages, checked: https://platform.openai.com/docs/api-reference/chat/create#chat_create-messages"""

from pydantic import JsonValue

from providers.base import JsonObject
from providers.openai.checks import array, filled_array, mapping, missing, one_of, required, text
from providers.openai.content import check_content
from providers.spec import SlotSpec

_ROLES = one_of("system", "developer", "user", "assistant", "tool", "function")


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
