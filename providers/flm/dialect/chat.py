"""A chat on its way to FastFlowLM: checked in OpenAI's words, what FLM cannot do refused, and what it ignores dropped.

What it reads: https://github.com/ROCm/FastFlowLM/blob/main/src/server/rest_handler.cpp
"""

from collections.abc import Mapping

from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.errors import UnsupportedRequest
from providers.flm.dialect.messages import simplified_messages
from providers.flm.dialect.stopping import check_stops
from providers.flm.dialect.thinking import thinking
from providers.openai.checks import Check, boolean, check_fields, is_object, number_from, required, strings
from providers.openai.messages import check_messages
from providers.openai.responses import translation
from providers.openai.sampling import CHAT
from providers.openai.tools import check_tools, chosen, narrowed
from providers.spec import SlotSpec

_REPETITION = number_from(0.1, 10)
_FIELDS: Mapping[str, Check] = {
    **CHAT,
    "temperature": number_from(0, 2),
    "top_p": number_from(0, 1),
    "min_p": number_from(0, 1),
    "presence_penalty": number_from(-2, 2),
    "frequency_penalty": number_from(-2, 2),
    "repetition_penalty": _REPETITION,
    "repeat_penalty": _REPETITION,
    "think": boolean,
    "chat_template_kwargs": is_object,
    "stop": check_stops,
    "modalities": strings,
    "web_search_options": is_object,
}
"""With OpenAI's ranges: FLM's sampler computes on with what is not a number, and then reads beyond its table."""
_PASSED = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "repetition_penalty", "stream")
_REFUSED: Mapping[str, str] = {
    "logprobs": "Log probabilities are not supported: leave 'logprobs' out.",
    "top_logprobs": "Log probabilities are not supported: leave 'top_logprobs' out.",
    "logit_bias": "Biases of tokens are not supported: leave 'logit_bias' out.",
    "functions": "'functions' is not supported: send 'tools'.",
    "grammar": "Grammars are not supported: describe the form in the messages.",
    "json_schema": "Answers to a schema are not supported: describe the form in the messages.",
    "audio": "Spoken answers are not supported: use /v1/audio/speech.",
}
"""Fields that would change the answer; FLM would answer as if they were not there."""


def translate_chat(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://platform.openai.com/docs/api-reference/chat/create"""
    return Translation(simplified(body, slot))


def translate_responses(body: JsonObject, slot: SlotSpec) -> Translation:
    if isinstance(wanted := body.get("text"), dict):
        _refuse_format("text.format", wanted.get("format"))
    return translation(body, slot, lambda chat: simplified(chat, slot))


def simplified(body: JsonObject, slot: SlotSpec) -> JsonObject:
    """The body with only what is of use: no nulls, roles and contents as FLM has them, `max_tokens`, and `stop` as a
    list. Raises `InvalidRequest`."""
    check_fields(body, _FIELDS)
    check_messages(required(body, "messages"), slot)
    _refuse(body)
    request: JsonObject = {name: body[name] for name in _PASSED if body.get(name) is not None}
    if "repetition_penalty" not in request and body.get("repeat_penalty") is not None:
        request["repetition_penalty"] = body["repeat_penalty"]
    if body.get("stream_options") is not None:
        request["stream_options"] = body["stream_options"]
    request |= {"model": body.get("model"), "messages": simplified_messages(body["messages"])}
    return request | _limit(body) | _stop(body.get("stop")) | _tools(body) | thinking(body)


def _refuse(body: JsonObject) -> None:
    for name, message in _REFUSED.items():
        if body.get(name):
            raise UnsupportedRequest(message, name)
    n = body.get("n")
    if isinstance(n, int) and n > 1:
        raise UnsupportedRequest("One answer at a time is supported: leave 'n' out and ask again.", "n")
    if isinstance(kinds := body.get("modalities"), list) and kinds != ["text"]:
        raise UnsupportedRequest("Only text is answered: leave 'modalities' out, or send [\"text\"].", "modalities")
    if body.get("web_search_options") is not None:
        # An empty object asks for a search, too.
        message = "The web is not searched here: leave 'web_search_options' out, or send a function that searches."
        raise UnsupportedRequest(message, "web_search_options")
    _refuse_format("response_format", body.get("response_format"))


def _refuse_format(param: str, value: JsonValue) -> None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in (None, "text"):
        message = f"Answers of type '{kind}' are not supported: describe the form in the messages, or call a tool."
        raise UnsupportedRequest(message, param)


def _limit(body: JsonObject) -> JsonObject:
    limits = (body.get(name) for name in ("max_completion_tokens", "max_tokens"))
    limit = next((limit for limit in limits if limit is not None), -1)
    return {} if limit == -1 else {"max_tokens": limit}


def _stop(value: JsonValue) -> JsonObject:
    stops: list[JsonValue] = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    kept: list[JsonValue] = [stop for stop in stops if stop]
    return {"stop": kept} if kept else {}


def _tools(body: JsonObject) -> JsonObject:
    """The tools that may be called; none where FLM is to call none."""
    names = check_tools("tools", body["tools"]) if body.get("tools") is not None else []
    word = body.get("tool_choice")
    choice = chosen("tool_choice", word, names) if word is not None else None
    if word == "required" or (choice is not None and choice.mode == "required"):
        message = "The model cannot be made to call a tool: send only that tool, and 'tool_choice': \"auto\"."
        raise UnsupportedRequest(message, "tool_choice")
    if not names or word == "none":
        return {}
    return {"tools": (narrowed(body, choice) if choice is not None else body)["tools"]}
