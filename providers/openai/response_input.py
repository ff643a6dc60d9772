"""The Responses API's input items as chat messages.

https://platform.openai.com/docs/api-reference/responses/create#responses_create-input
"""

from pydantic import JsonValue

from providers.base import JsonObject
from providers.errors import UnsupportedRequest
from providers.openai.checks import (
    array,
    filled_array,
    mapping,
    one_of,
    required,
    text,
    wrong_type,
    wrong_value,
)
from providers.openai.content import need_vision, picture_url
from providers.spec import SlotSpec

_ROLES = one_of("system", "developer", "user", "assistant")


def messages(instructions: JsonValue, value: JsonValue, slot: SlotSpec) -> list[JsonValue]:
    conversation = Conversation(slot)
    if instructions is not None:
        conversation.add("system", text("instructions", instructions))
    if isinstance(value, str):
        conversation.add("user", value)
    elif isinstance(value, list):
        for i, item in enumerate(filled_array("input", value)):
            conversation.item(f"input[{i}]", mapping(f"input[{i}]", item))
    else:
        raise wrong_type("input", "a string or an array of items", value)
    return [*conversation.messages]


class Conversation:
    """Collects chat messages; what an assistant did in one turn comes as several items and becomes one message."""

    def __init__(self, slot: SlotSpec) -> None:
        self.messages: list[JsonObject] = []
        self._slot = slot

    def add(self, role: str, content: JsonValue) -> None:
        self.messages.append({"role": role, "content": content})

    def item(self, param: str, item: JsonObject) -> None:
        match item.get("type", "message"):
            case "message":
                self._message(param, item)
            case "function_call":
                self._call(param, item)
            case "function_call_output":
                call = text(f"{param}.call_id", required(item, "call_id", f"{param}."))
                output = self._content(f"{param}.output", required(item, "output", f"{param}."))
                self.messages.append({"role": "tool", "tool_call_id": call, "content": output})
            case "reasoning":
                self._reasoning(param, item)
            case "item_reference":
                raise UnsupportedRequest("Responses are not stored: send the items themselves.", param)
            case other:
                raise wrong_value(f"{param}.type", f"items of type '{other}' are not supported.")

    def _message(self, param: str, item: JsonObject) -> None:
        role = required(item, "role", f"{param}.")
        _ROLES(f"{param}.role", role)
        content = self._content(f"{param}.content", required(item, "content", f"{param}."))
        if role != "assistant":
            self.add(text(f"{param}.role", role), content)
            return
        turn = self._turn()
        if turn["content"] or "tool_calls" in turn:
            self.add("assistant", content)
        else:
            turn["content"] = content

    def _call(self, param: str, item: JsonObject) -> None:
        name, arguments, call_id = (
            text(f"{param}.{field}", required(item, field, f"{param}.")) for field in ("name", "arguments", "call_id")
        )
        calls = self._turn().setdefault("tool_calls", [])
        assert isinstance(calls, list)
        calls.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})

    def _reasoning(self, param: str, item: JsonObject) -> None:
        field = "content" if item.get("content") else "summary"
        parts = array(f"{param}.{field}", item.get(field) or [])
        texts = [_part_text(f"{param}.{field}[{i}]", part) for i, part in enumerate(parts)]
        if texts:
            self.messages.append({"role": "assistant", "content": "", "reasoning_content": "\n".join(texts)})

    def _turn(self) -> JsonObject:
        """The assistant's message that is being collected."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.add("assistant", "")
        return self.messages[-1]

    def _content(self, param: str, value: JsonValue) -> JsonValue:
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise wrong_type(param, "a string or an array of content parts", value)
        parts = [self._part(f"{param}[{i}]", mapping(f"{param}[{i}]", part)) for i, part in enumerate(value)]
        texts = [part["text"] for part in parts if part["type"] == "text"]
        # Not every chat template can render a list of parts.
        return "".join(str(t) for t in texts) if len(texts) == len(parts) else [*parts]

    def _part(self, param: str, part: JsonObject) -> JsonObject:
        match required(part, "type", f"{param}."):
            case "input_text" | "output_text" | "text":
                return {"type": "text", "text": _part_text(param, part)}
            case "refusal":
                return {"type": "text", "text": text(f"{param}.refusal", required(part, "refusal", f"{param}."))}
            case "input_image":
                need_vision(param, self._slot)
                if part.get("file_id") is not None:
                    raise UnsupportedRequest(
                        "Files are not stored: send the picture in 'image_url'.", f"{param}.file_id"
                    )
                url = picture_url(f"{param}.image_url", required(part, "image_url", f"{param}."))
                return {"type": "image_url", "image_url": {"url": url}}
            case "input_audio":
                return part
            case other:
                raise wrong_value(f"{param}.type", f"content of type '{other}' is not supported.")


def _part_text(param: str, part: JsonValue) -> str:
    return text(f"{param}.text", required(mapping(param, part), "text", f"{param}."))
