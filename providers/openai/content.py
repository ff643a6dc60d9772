"""The parts of a chat message: text, pictures, and what else a slot may be sent."""

from pydantic import JsonValue

from providers.capabilities import Capability
from providers.errors import InvalidRequest
from providers.openai.checks import filled, filled_array, mapping, required, text, wrong_type
from providers.spec import SlotSpec


def check_part(param: str, part: JsonValue, slot: SlotSpec) -> None:
    """Checks one part of chat content. Types that only the engine knows are left to it."""
    fields = mapping(param, part)
    match text(f"{param}.type", required(fields, "type", f"{param}.")):
        case "text":
            text(f"{param}.text", required(fields, "text", f"{param}."))
        case "image_url":
            need_vision(param, slot)
            picture = mapping(f"{param}.image_url", required(fields, "image_url", f"{param}."))
            picture_url(f"{param}.image_url.url", required(picture, "url", f"{param}.image_url."))
        case "input_image":
            need_vision(param, slot)


def need_vision(param: str, slot: SlotSpec) -> None:
    if not slot.offers(Capability.VISION):
        raise InvalidRequest(
            f"The slot '{slot.name}' has no vision, so '{param}' cannot be a picture.", param, "unsupported_content"
        )


def picture_url(param: str, value: JsonValue) -> str:
    """A picture's URL: `data:`, or http(s), which the engine itself fetches; it answers for one out of its reach."""
    return filled(param, value)


def check_content(param: str, value: JsonValue, slot: SlotSpec) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list):
        raise wrong_type(param, "a string or an array of content parts", value)
    for i, part in enumerate(filled_array(param, value)):
        check_part(f"{param}[{i}]", part, slot)
