"""Anthropic's Messages: https://docs.anthropic.com/en/api/messages"""

import json
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.errors import UnsupportedRequest
from providers.llamacpp.dialect.errors import engine_error
from providers.openai.checks import (
    Check,
    array,
    boolean,
    check_fields,
    filled,
    filled_array,
    integer,
    is_object,
    mapping,
    number,
    one_of,
    required,
    strings,
    text,
    token_limit,
    wrong_type,
    wrong_value,
)
from providers.openai.content import need_vision, picture_url
from providers.spec import SlotSpec
from providers.sse import EventTranslator, ServerSentEvent

_ROLES = one_of("user", "assistant", "system")
_FIELDS: Mapping[str, Check] = {
    "max_tokens": token_limit,
    "stream": boolean,
    "stop_sequences": strings,
    "temperature": number,
    "top_p": number,
    "top_k": integer,
    "thinking": is_object,
    "metadata": is_object,
    "tool_choice": is_object,
}


def translate_messages(body: JsonObject, slot: SlotSpec) -> Translation:
    request = _checked(body, slot)
    return Translation(
        None if request is body else request,
        response=_stopped if body.get("stop_sequences") else None,
        stream=MessageStream(),
    )


def translate_count(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://docs.anthropic.com/en/api/messages-count-tokens"""
    request = _checked(body, slot)
    return Translation(None if request is body else request)


def _checked(body: JsonObject, slot: SlotSpec) -> JsonObject:
    check_fields(body, _FIELDS)
    if (system := body.get("system")) is not None and not isinstance(system, str):
        _check_blocks("system", system, slot)
    for i, message in enumerate(filled_array("messages", required(body, "messages"))):
        param = f"messages[{i}]"
        fields = mapping(param, message)
        _ROLES(f"{param}.role", required(fields, "role", f"{param}."))
        content = required(fields, "content", f"{param}.")
        if not isinstance(content, str):
            _check_blocks(f"{param}.content", content, slot)
    tools = [_tool(f"tools[{i}]", tool) for i, tool in enumerate(array("tools", body.get("tools") or []))]
    return _chosen(body, tools)


def _check_blocks(param: str, value: JsonValue, slot: SlotSpec) -> None:
    if not isinstance(value, list):
        raise wrong_type(param, "a string or an array of content blocks", value)
    for i, block in enumerate(value):
        _check_block(f"{param}[{i}]", mapping(f"{param}[{i}]", block), slot)


def _check_block(param: str, block: JsonObject, slot: SlotSpec) -> None:
    match text(f"{param}.type", required(block, "type", f"{param}.")):
        case "text":
            text(f"{param}.text", required(block, "text", f"{param}."))
        case "image":
            need_vision(param, slot)
            _check_source(f"{param}.source", required(block, "source", f"{param}."))
        case "tool_use":
            filled(f"{param}.name", required(block, "name", f"{param}."))
            mapping(f"{param}.input", required(block, "input", f"{param}."))
        case "tool_result":
            text(f"{param}.tool_use_id", required(block, "tool_use_id", f"{param}."))
            if not isinstance(content := block.get("content") or "", str):
                _check_blocks(f"{param}.content", content, slot)
        case "document":
            raise UnsupportedRequest("Documents are not supported: send their text.", param)


def _check_source(param: str, value: JsonValue) -> None:
    source = mapping(param, value)
    kind = text(f"{param}.type", required(source, "type", f"{param}."))
    one_of("base64", "url")(f"{param}.type", kind)
    field = "data" if kind == "base64" else "url"
    picture_url(f"{param}.{field}", required(source, field, f"{param}."))


def _tool(param: str, value: JsonValue) -> JsonObject:
    tool = mapping(param, value)
    filled(f"{param}.name", required(tool, "name", f"{param}."))
    check_fields(tool, {"input_schema": is_object}, f"{param}.")
    return tool


def _chosen(body: JsonObject, tools: list[JsonObject]) -> JsonObject:
    """The engine knows neither the choice of one tool nor of none, so it gets that one tool, or no tools."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return body
    kind = text("tool_choice.type", required(choice, "type", "tool_choice."))
    one_of("auto", "any", "tool", "none")("tool_choice.type", kind)
    if kind == "none":
        return {name: value for name, value in body.items() if name not in ("tools", "tool_choice")}
    if kind != "tool":
        return body
    name = text("tool_choice.name", required(choice, "name", "tool_choice."))
    kept = [tool for tool in tools if tool["name"] == name]
    if not kept:
        raise wrong_value("tool_choice.name", f"the tool '{name}' is not among 'tools'.")
    return body | {"tools": [*kept]}


def _stopped(answer: JsonValue) -> JsonValue:
    """The engine names the stop sequence that ended the answer, but gives "end_turn" as the reason."""
    if isinstance(answer, dict) and answer.get("stop_sequence") is not None and answer.get("stop_reason") == "end_turn":
        answer["stop_reason"] = "stop_sequence"
    return answer


class MessageStream(EventTranslator):
    """Puts right the few events that differ; deltas, which are nearly all of a stream, pass unread."""

    def __init__(self) -> None:
        super().__init__()
        self._started: set[JsonValue] = set()

    def translate(self, event: ServerSentEvent) -> Iterator[ServerSentEvent]:
        match event.event:
            case "content_block_start" | "content_block_stop" | "message_delta" | "error":
                if (body := self._rewritten(event.event, json.loads(event.data))) is not None:
                    yield ServerSentEvent(json.dumps(body, ensure_ascii=False), event.event)
            case _:
                yield event

    def _rewritten(self, name: str, body: JsonObject) -> JsonObject | None:
        index = body.get("index")
        match name:
            case "content_block_start":
                self._started.add(index)
                block = body.get("content_block")
                if isinstance(block, dict) and block.get("type") == "tool_use":
                    block.setdefault("input", {})
            case "content_block_stop" if index not in self._started:
                # After an assistant's prefill the engine closes a block that it never opened.
                return None
            case "message_delta":
                _stopped(body.get("delta"))
            case "error" if body.get("type") != "error":
                error = engine_error(500, json.dumps({"error": body}).encode())
                return {"type": "error", "error": {"type": "api_error", "message": error.message}}
        return body
