"""The Responses API over an engine's chat completions.

https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.errors import UnsupportedRequest
from providers.openai.checks import (
    Check,
    array,
    boolean,
    check_fields,
    integer_from,
    is_object,
    mapping,
    one_of,
    required,
    string,
    strings,
    text,
    token_limit,
)
from providers.openai.response_input import messages
from providers.openai.response_object import ResponseObject
from providers.openai.response_stream import ResponseStream
from providers.openai.sampling import SAMPLING
from providers.openai.tools import check_function
from providers.spec import SlotSpec

_FIELDS: Mapping[str, Check] = {
    **{name: check for name, check in SAMPLING.items() if name != "stream_options"},
    "instructions": string,
    "max_output_tokens": token_limit,
    "top_logprobs": integer_from(0, 20),
    "parallel_tool_calls": boolean,
    "metadata": is_object,
    "reasoning": is_object,
    "text": is_object,
    "include": strings,
    "background": boolean,
    "store": boolean,
}
_OWN = frozenset(
    (
        *("background", "conversation", "include", "input", "instructions", "max_output_tokens", "max_tool_calls"),
        *("metadata", "model", "previous_response_id", "prompt", "prompt_cache_key", "reasoning", "safety_identifier"),
        *("service_tier", "store", "stream", "stream_options", "text", "tool_choice", "tools", "top_logprobs"),
        *("truncation", "user"),
    )
)
"""Fields that chat completions do not have, or have in another form; all others pass on as they are."""
_STORED = ("previous_response_id", "conversation", "prompt")


def translation(body: JsonObject, slot: SlotSpec, adapted: Callable[[JsonObject], JsonObject]) -> Translation:
    """`adapted` makes of a chat's body what the engine gets, which answers as OpenAI's chat does."""
    check_fields(body, _FIELDS)
    for field in _STORED:
        if body.get(field) is not None:
            raise UnsupportedRequest(f"Nothing is stored here for '{field}': send the whole conversation.", field)
    if body.get("background"):
        raise UnsupportedRequest("'background' is not supported: use 'stream'.", "background")
    answer = ResponseObject.of(body)
    return Translation(adapted(_chat(body, slot)), response=answer.from_chat, stream=ResponseStream(answer))


def _chat(body: JsonObject, slot: SlotSpec) -> JsonObject:
    chat = {name: value for name, value in body.items() if name not in _OWN}
    chat["model"] = body.get("model")
    chat["messages"] = messages(body.get("instructions"), required(body, "input"), slot)
    if (limit := body.get("max_output_tokens")) is not None:
        chat["max_tokens"] = limit
    if body.get("stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    if isinstance(reasoning := body.get("reasoning"), dict) and reasoning.get("effort") is not None:
        chat["reasoning_effort"] = text("reasoning.effort", reasoning["effort"])
    return chat | _format(body.get("text")) | _tools(body) | _logprobs(body)


def _format(value: JsonValue) -> JsonObject:
    wanted = value.get("format") if isinstance(value, dict) else None
    if wanted is None:
        return {}
    fields = mapping("text.format", wanted)
    kind = required(fields, "type", "text.format.")
    one_of("text", "json_object", "json_schema")("text.format.type", kind)
    if kind != "json_schema":
        return {"response_format": {"type": kind}}
    schema = mapping("text.format.schema", required(fields, "schema", "text.format."))
    wrapper: JsonObject = {"name": fields.get("name", "answer"), "schema": schema}
    return {"response_format": {"type": kind, "json_schema": wrapper}}


def _tools(body: JsonObject) -> JsonObject:
    """Function tools in chat's form. Tools that OpenAI itself runs are left out: agents list them with their own."""
    if body.get("tools") is None:
        return {}
    functions: list[JsonValue] = []
    for i, value in enumerate(array("tools", body["tools"])):
        tool = mapping(f"tools[{i}]", value)
        if text(f"tools[{i}].type", required(tool, "type", f"tools[{i}].")) == "function":
            check_function(tool, f"tools[{i}].")
            functions.append({"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}})
    if not functions:
        return {}
    choice = body.get("tool_choice")
    return {"tools": functions} if choice is None else {"tools": functions, "tool_choice": choice}


def _logprobs(body: JsonObject) -> JsonObject:
    included = body.get("include")
    asked = isinstance(included, list) and "message.output_text.logprobs" in included
    top = body.get("top_logprobs")
    return {"logprobs": True, "top_logprobs": top or 1} if asked or top else {}
