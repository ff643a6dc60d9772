"""Checks of request fields, worded as OpenAI words them."""

import math
from collections.abc import Callable, Mapping

from pydantic import JsonValue

from providers.base import JsonObject
from providers.errors import InvalidRequest

Check = Callable[[str, JsonValue], None]
"""Takes a field's name and its value, never null; raises `InvalidRequest`."""


def wrong_type(param: str, expected: str, value: JsonValue) -> InvalidRequest:
    message = f"Invalid type for '{param}': expected {expected}, but got {kind(value)} instead."
    return InvalidRequest(message, param, "invalid_type")


def wrong_value(param: str, complaint: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {complaint}", param, "invalid_value")


def missing(param: str) -> InvalidRequest:
    return InvalidRequest(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def kind(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def check_fields(body: JsonObject, checks: Mapping[str, Check], prefix: str = "") -> None:
    """Applies each check to its field. A field that is absent or null has its default, so it passes."""
    for name, check in checks.items():
        if (value := body.get(name)) is not None:
            check(f"{prefix}{name}", value)


def required(body: JsonObject, name: str, prefix: str = "") -> JsonValue:
    if name not in body:
        raise missing(f"{prefix}{name}")
    return body[name]


def boolean(param: str, value: JsonValue) -> None:
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)


def number(param: str, value: JsonValue) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(param, "a number", value)
    if not math.isfinite(value):
        raise wrong_value(param, "expected a finite number.")


def number_from(low: float, high: float) -> Check:
    def check(param: str, value: JsonValue) -> None:
        number(param, value)
        assert isinstance(value, int | float)
        if not low <= value <= high:
            raise wrong_value(param, f"expected a value from {low:g} to {high:g}, but got {value} instead.")

    return check


def integer(param: str, value: JsonValue) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(param, "an integer", value)


def integer_from(low: int, high: int | None = None) -> Check:
    def check(param: str, value: JsonValue) -> None:
        integer(param, value)
        assert isinstance(value, int)
        if value < low:
            raise wrong_value(param, f"expected a value >= {low}, but got {value} instead.")
        if high is not None and value > high:
            raise wrong_value(param, f"expected a value <= {high}, but got {value} instead.")

    return check


def token_limit(param: str, value: JsonValue) -> None:
    """A positive number of tokens, or llama.cpp's -1 for no limit."""
    integer(param, value)
    assert isinstance(value, int)
    if value < 1 and value != -1:
        raise wrong_value(param, f"expected a value >= 1, but got {value} instead.")


def string(param: str, value: JsonValue) -> None:
    text(param, value)


def text(param: str, value: JsonValue) -> str:
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    return value


def filled(param: str, value: JsonValue) -> str:
    if not text(param, value):
        raise wrong_value(param, "expected a string that is not empty.")
    return text(param, value)


def is_object(param: str, value: JsonValue) -> None:
    mapping(param, value)


def mapping(param: str, value: JsonValue) -> JsonObject:
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    return value


def array(param: str, value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise wrong_type(param, "an array", value)
    return value


def filled_array(param: str, value: JsonValue) -> list[JsonValue]:
    if not array(param, value):
        raise InvalidRequest(
            f"Invalid '{param}': empty array. Expected an array with minimum length 1.", param, "empty_array"
        )
    return array(param, value)


def array_up_to(most: int) -> Check:
    def check(param: str, value: JsonValue) -> None:
        if (length := len(array(param, value))) > most:
            complaint = f"Expected an array with maximum length {most}, but got an array with length {length} instead."
            raise InvalidRequest(f"Invalid '{param}': array too long. {complaint}", param, "array_above_max_length")

    return check


def text_up_to(most: int) -> Check:
    def check(param: str, value: JsonValue) -> None:
        if (length := len(text(param, value))) > most:
            complaint = f"Expected a string with maximum length {most}, but got a string with length {length} instead."
            raise InvalidRequest(f"Invalid '{param}': string too long. {complaint}", param, "string_above_max_length")

    return check


def strings(param: str, value: JsonValue) -> None:
    for i, item in enumerate(array(param, value)):
        text(f"{param}[{i}]", item)


def string_or_strings(param: str, value: JsonValue) -> None:
    if isinstance(value, list):
        strings(param, value)
    elif not isinstance(value, str):
        raise wrong_type(param, "a string or an array of strings", value)


def one_of(*allowed: str) -> Check:
    def check(param: str, value: JsonValue) -> None:
        if text(param, value) not in allowed:
            names = ", ".join(f"'{name}'" for name in allowed)
            raise wrong_value(param, f"'{value}' is not supported. Supported values are: {names}.")

    return check


def is_tokens(value: JsonValue) -> bool:
    return isinstance(value, list) and all(isinstance(token, int) and not isinstance(token, bool) for token in value)
