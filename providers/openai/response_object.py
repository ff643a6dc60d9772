"""The Responses API's answer, made from a chat completion.

https://platform.openai.com/docs/api-reference/responses/object
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from pydantic import JsonValue

from providers.base import JsonObject


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"


def text_part(content: str, logprobs: list[JsonValue]) -> JsonObject:
    return {"type": "output_text", "text": content, "annotations": [], "logprobs": logprobs}


def message_item(item_id: str, content: list[JsonValue], status: str) -> JsonObject:
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def reasoning_item(item_id: str, content: list[JsonValue], status: str) -> JsonObject:
    return {"id": item_id, "type": "reasoning", "summary": [], "content": content, "status": status}


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: str) -> JsonObject:
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


@dataclass(frozen=True, slots=True)
class ResponseObject:
    """One response: what the request fixed, to which the engine's answer adds the output."""

    fixed: JsonObject
    id: str = field(default_factory=lambda: new_id("resp"))
    created_at: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(cls, body: JsonObject) -> "ResponseObject":
        echoed: JsonObject = {
            name: body.get(name)
            for name in ("instructions", "max_output_tokens", "max_tool_calls", "model", "temperature", "top_p", "user")
        }
        defaults: JsonObject = {
            "metadata": {},
            "parallel_tool_calls": True,
            "reasoning": {"effort": None, "summary": None},
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "truncation": "disabled",
        }
        given = {name: body[name] for name in defaults if body.get(name) is not None}
        return cls(echoed | defaults | given)

    def started(self) -> JsonObject:
        return self._whole("in_progress", [], None)

    def finished(self, output: list[JsonValue], usage: JsonValue, cut: bool) -> JsonObject:
        whole = self._whole("incomplete" if cut else "completed", output, _usage(usage))
        if cut:
            return whole | {"incomplete_details": {"reason": "max_output_tokens"}}
        return whole | {"completed_at": int(time.time())}

    def failed(self, output: list[JsonValue], message: str) -> JsonObject:
        return self._whole("failed", output, None) | {"error": {"code": "server_error", "message": message}}

    def from_chat(self, answer: JsonValue) -> JsonValue:
        """The response for a chat completion that was not streamed."""
        completion = answer if isinstance(answer, dict) else {}
        choices = completion.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return self.failed([], "The engine's answer has no choices.")
        cut = choice.get("finish_reason") == "length"
        output: list[JsonValue] = [*_items(choice, "incomplete" if cut else "completed")]
        return self.finished(output, completion.get("usage"), cut)

    def _whole(self, status: str, output: list[JsonValue], usage: JsonValue) -> JsonObject:
        return self.fixed | {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "output": output,
            "previous_response_id": None,
            "store": False,
            "usage": usage,
        }


def _items(choice: JsonObject, status: str) -> Iterator[JsonObject]:
    """The output items of a choice: reasoning, text, calls. Only the last one can have been cut."""
    message = choice.get("message")
    fields = message if isinstance(message, dict) else {}
    given = fields.get("tool_calls")
    calls = [call for call in given if isinstance(call, dict)] if isinstance(given, list) else []
    thought, said = fields.get("reasoning_content"), fields.get("content")
    if thought:
        part: JsonObject = {"type": "reasoning_text", "text": thought}
        yield reasoning_item(new_id("rs"), [part], "completed" if said or calls else status)
    if said or not (thought or calls):
        part = text_part(str(said or ""), _logprobs(choice))
        yield message_item(new_id("msg"), [part], "completed" if calls else status)
    for call in calls:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        name, arguments = str(function.get("name", "")), str(function.get("arguments", ""))
        yield call_item(
            new_id("fc"), str(call.get("id")), name, arguments, status if call is calls[-1] else "completed"
        )


def _logprobs(choice: JsonObject) -> list[JsonValue]:
    found = choice.get("logprobs")
    content = found.get("content") if isinstance(found, dict) else None
    return content if isinstance(content, list) else []


def _usage(value: JsonValue) -> JsonValue:
    if not isinstance(value, dict):
        return None
    prompt_details, details = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    cached = prompt_details.get("cached_tokens", 0) if isinstance(prompt_details, dict) else 0
    thought = details.get("reasoning_tokens", 0) if isinstance(details, dict) else 0
    return {
        "input_tokens": value.get("prompt_tokens", 0),
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": value.get("completion_tokens", 0),
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": value.get("total_tokens", 0),
    }
