"""Function tools, and the choice among them."""

from dataclasses import dataclass

from pydantic import JsonValue

from providers.base import JsonObject
from providers.openai.checks import (
    array,
    boolean,
    check_fields,
    filled,
    is_object,
    mapping,
    one_of,
    required,
    string,
    text,
    wrong_type,
    wrong_value,
)

_CHOICES = one_of("none", "auto", "required")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tools the model may call, narrower than the request's list, and whether it must call one."""

    names: frozenset[str]
    mode: str


def check_function(function: JsonObject, prefix: str) -> str:
    """Checks a function's definition and returns its name."""
    check_fields(function, {"description": string, "parameters": is_object, "strict": boolean}, prefix)
    return filled(f"{prefix}name", required(function, "name", prefix))


def check_tools(param: str, value: JsonValue) -> list[str]:
    """Checks chat tools and returns the names of their functions."""
    return [_check_tool(f"{param}[{i}]", tool) for i, tool in enumerate(array(param, value))]


def _check_tool(param: str, value: JsonValue) -> str:
    tool = mapping(param, value)
    one_of("function")(f"{param}.type", required(tool, "type", f"{param}."))
    function = mapping(f"{param}.function", required(tool, "function", f"{param}."))
    return check_function(function, f"{param}.function.")


def chosen(param: str, value: JsonValue, names: list[str]) -> Choice | None:
    """The choice that an object makes; None for one of the words, which the engine knows.

    https://platform.openai.com/docs/api-reference/chat/create#chat_create-tool_choice
    """
    if isinstance(value, str):
        _CHOICES(param, value)
        return None
    if not isinstance(value, dict):
        raise wrong_type(param, "a string or an object", value)
    match text(f"{param}.type", required(value, "type", f"{param}.")):
        case "function":
            choice = Choice(frozenset({_function_name(param, value)}), "required")
        case "allowed_tools":
            choice = _allowed(param, value)
        case other:
            raise wrong_value(f"{param}.type", f"'{other}' is not supported. Supported values are: 'function'.")
    for name in choice.names - frozenset(names):
        raise wrong_value(param, f"the tool '{name}' is not among 'tools'.")
    return choice


def _function_name(param: str, value: JsonObject) -> str:
    """A function's name in chat's nested form, or in the flat one of the Responses API."""
    if "name" in value:
        return text(f"{param}.name", value["name"])
    function = mapping(f"{param}.function", required(value, "function", f"{param}."))
    return text(f"{param}.function.name", required(function, "name", f"{param}.function."))


def _allowed(param: str, value: JsonObject) -> Choice:
    nested = value.get("allowed_tools", value)
    allowed = mapping(f"{param}.allowed_tools", nested)
    mode = required(allowed, "mode", f"{param}.")
    one_of("auto", "required")(f"{param}.mode", mode)
    tools = array(f"{param}.tools", required(allowed, "tools", f"{param}."))
    names = (_function_name(f"{param}.tools[{i}]", mapping(param, tool)) for i, tool in enumerate(tools))
    return Choice(frozenset(names), text(param, mode))


def narrowed(body: JsonObject, choice: Choice) -> JsonObject:
    """Chat's body with only the chosen tools: the engine takes an object in `tool_choice` for "auto"."""
    tools = body["tools"]
    assert isinstance(tools, list)
    kept = [tool for tool in tools if _chat_name(tool) in choice.names]
    return body | {"tools": kept, "tool_choice": choice.mode}


def _chat_name(tool: JsonValue) -> JsonValue:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None
