"""The fields of text generation that chat and completions share."""

from collections.abc import Mapping

from pydantic import JsonValue

from providers.openai.checks import (
    Check,
    boolean,
    check_fields,
    integer,
    integer_from,
    is_object,
    mapping,
    number,
    one_of,
    required,
    string,
    string_or_strings,
    token_limit,
    wrong_type,
)


def response_format(param: str, value: JsonValue) -> None:
    """https://platform.openai.com/docs/api-reference/chat/create#chat_create-response_format"""
    fields = mapping(param, value)
    kind = required(fields, "type", f"{param}.")
    one_of("text", "json_object", "json_schema")(f"{param}.type", kind)
    check_fields(fields, {"schema": is_object}, f"{param}.")
    if kind == "json_schema":
        wrapper = mapping(f"{param}.json_schema", required(fields, "json_schema", f"{param}."))
        check_fields(wrapper, {"schema": is_object}, f"{param}.json_schema.")


def logit_bias(param: str, value: JsonValue) -> None:
    """OpenAI's object of token to bias, or llama.cpp's list of pairs."""
    if isinstance(value, dict):
        for token, bias in value.items():
            number(f"{param}.{token}", bias)
    elif not isinstance(value, list):
        raise wrong_type(param, "an object", value)


def stream_options(param: str, value: JsonValue) -> None:
    check_fields(mapping(param, value), {"include_usage": boolean}, f"{param}.")


SAMPLING: Mapping[str, Check] = {
    "stream": boolean,
    "stream_options": stream_options,
    "max_tokens": token_limit,
    "max_completion_tokens": token_limit,
    "temperature": number,
    "top_p": number,
    "top_k": integer,
    "min_p": number,
    "presence_penalty": number,
    "frequency_penalty": number,
    "repeat_penalty": number,
    "seed": integer,
    "n": integer_from(1),
    "stop": string_or_strings,
    "logit_bias": logit_bias,
    "response_format": response_format,
    "json_schema": is_object,
}
CHAT: Mapping[str, Check] = {
    **SAMPLING,
    "logprobs": boolean,
    "top_logprobs": integer_from(0, 20),
    "parallel_tool_calls": boolean,
    "reasoning_effort": string,
}
