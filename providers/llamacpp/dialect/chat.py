"""Chat completions: checked, and passed through wherever the engine means what OpenAI means."""

from providers.base import JsonObject, Translation
from providers.openai.checks import check_fields, required
from providers.openai.messages import check_messages
from providers.openai.sampling import CHAT
from providers.openai.tools import check_tools, chosen, narrowed
from providers.spec import SlotSpec

_UNTOUCHED = Translation()


def translate_chat(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://platform.openai.com/docs/api-reference/chat/create"""
    check_fields(body, CHAT)
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
