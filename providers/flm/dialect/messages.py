"""Messages as FastFlowLM reads them."""

from pydantic import JsonValue

from providers.base import JsonObject
from providers.errors import UnsupportedRequest
from providers.flm.dialect.pictures import picture
from providers.openai.checks import array, mapping, wrong_value

_ROLES = {"developer": "system"}
_MERGED = ("system", "user")
_GAP = "\n\n"


def simplified_messages(value: JsonValue) -> list[JsonValue]:
    """Of messages that were checked. Raises `InvalidRequest` for contents that FLM cannot read."""
    messages: list[JsonObject] = []
    for i, item in enumerate(array("messages", value)):
        message = _simplified(f"messages[{i}]", mapping(f"messages[{i}]", item))
        role = message["role"]
        if messages and role in _MERGED and messages[-1]["role"] == role:
            message["content"] = _set_apart(message["content"])
        messages.append(message)
    return [*messages]


def _simplified(param: str, message: JsonObject) -> JsonObject:
    role = str(message["role"])
    if role == "function" or (message.get("function_call") and not message.get("tool_calls")):
        raise UnsupportedRequest("Functions are not supported: use 'tools' and 'tool_calls'.", param)
    kept: JsonObject = {"role": _ROLES.get(role, role), "content": _content(f"{param}.content", message.get("content"))}
    return kept | {name: message[name] for name in ("tool_calls", "tool_call_id", "name") if message.get(name)}


def _set_apart(content: JsonValue) -> JsonValue:
    """FLM puts the contents of neighbours of one role together with nothing between."""
    if isinstance(content, list):
        return [{"type": "text", "text": _GAP}, *content]
    return f"{_GAP}{content}"


def _content(param: str, value: JsonValue) -> JsonValue:
    if not isinstance(value, list):
        return value or ""
    parts = [_part(f"{param}[{i}]", mapping(f"{param}[{i}]", part)) for i, part in enumerate(value)]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "".join(map(str, texts)) if len(texts) == len(parts) else [*parts]


def _part(param: str, part: JsonObject) -> JsonObject:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"]}
        case "refusal":
            return {"type": "text", "text": str(part.get("refusal") or "")}
        case "image_url":
            given = mapping(f"{param}.image_url", part["image_url"])
            url = picture(f"{param}.image_url.url", str(given["url"]))
            return {"type": "image_url", "image_url": {"url": url}}
        case "input_audio":
            message = "Sound is not supported in a chat: turn it into text with /v1/audio/transcriptions."
            raise UnsupportedRequest(message, param, "unsupported_content")
        case other:
            raise wrong_value(
                f"{param}.type", f"'{other}' is not supported. Supported values are: 'text', 'image_url'."
            )
