"""Completions: OpenAI's, llama.cpp's own, and infill."""

import json
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.errors import UnsupportedRequest
from providers.openai.checks import (
    Check,
    check_fields,
    filled_array,
    integer_from,
    is_tokens,
    required,
    string,
    wrong_type,
)
from providers.openai.sampling import SAMPLING
from providers.spec import SlotSpec
from providers.sse import DONE, EventTranslator, ServerSentEvent

_UNTOUCHED = Translation()


def logprobs(param: str, value: JsonValue) -> None:
    if not isinstance(value, bool):
        integer_from(0, 20)(param, value)


_COMPLETION: Mapping[str, Check] = {**SAMPLING, "logprobs": logprobs, "best_of": integer_from(1)}
_INFILL: Mapping[str, Check] = {**SAMPLING, "prompt": string}


def translate_completion(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://platform.openai.com/docs/api-reference/completions/create"""
    check_fields(body, _COMPLETION)
    check_prompt(required(body, "prompt"))
    _refuse_ignored(body)
    wanted = body.get("logprobs")
    if wanted is None or wanted is False:
        return _UNTOUCHED
    # The engine sends no log probabilities at all for 0.
    request = body | {"logprobs": 1} if wanted == 0 else None
    return Translation(request, response=LegacyLogprobs(), stream=LegacyLogprobsStream())


def translate_native(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"""
    check_fields(body, SAMPLING)
    check_prompt(required(body, "prompt"))
    return _UNTOUCHED


def translate_infill(body: JsonObject, slot: SlotSpec) -> Translation:
    check_fields(body, _INFILL)
    for name in ("input_prefix", "input_suffix"):
        string(name, required(body, name))
    return _UNTOUCHED


def check_prompt(value: JsonValue) -> None:
    """A string, tokens, a list of either, or llama.cpp's object with pictures, which is the engine's to check."""
    if isinstance(value, str | dict):
        return
    if not isinstance(value, list):
        raise wrong_type("prompt", "a string or an array of strings or tokens", value)
    filled_array("prompt", value)
    if is_tokens(value):
        return
    for i, item in enumerate(value):
        if not (isinstance(item, str | dict) or is_tokens(item)):
            raise wrong_type(f"prompt[{i}]", "a string or an array of tokens", item)


def _refuse_ignored(body: JsonObject) -> None:
    """The engine accepts these fields and then answers as if they were not there."""
    if body.get("echo"):
        raise UnsupportedRequest("'echo' is not supported: put the prompt before the answer yourself.", "echo")
    if body.get("suffix"):
        raise UnsupportedRequest("'suffix' is not supported here: use /infill.", "suffix")
    best_of, n = body.get("best_of") or 1, body.get("n") or 1
    if isinstance(best_of, int) and isinstance(n, int) and best_of > n:
        raise UnsupportedRequest("'best_of' above 'n' is not supported: ask for 'n' and choose.", "best_of")


class LegacyLogprobs:
    """Rewrites chat's form of log probabilities to the one of completions, keeping each choice's text offset."""

    def __init__(self) -> None:
        self._offsets: dict[JsonValue, int] = {}

    def __call__(self, answer: JsonValue) -> JsonValue:
        choices = answer.get("choices") if isinstance(answer, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(found := choice.get("logprobs"), dict):
                choice["logprobs"] = self._legacy(choice.get("index"), found)
        return answer

    def _legacy(self, index: JsonValue, found: JsonObject) -> JsonObject:
        content = found.get("content")
        tokens = [token for token in content if isinstance(token, dict)] if isinstance(content, list) else []
        return {
            "tokens": [token.get("token") for token in tokens],
            "token_logprobs": [token.get("logprob") for token in tokens],
            "top_logprobs": [_alternatives(token) for token in tokens],
            "text_offset": list(self._text_offsets(index, tokens)),
        }

    def _text_offsets(self, index: JsonValue, tokens: list[JsonObject]) -> Iterator[int]:
        for token in tokens:
            offset = self._offsets.get(index, 0)
            yield offset
            self._offsets[index] = offset + len(str(token.get("token", "")))


def _alternatives(token: JsonObject) -> JsonObject:
    top = token.get("top_logprobs")
    others = [other for other in top if isinstance(other, dict)] if isinstance(top, list) else []
    return {str(other["token"]): other["logprob"] for other in others}


class LegacyLogprobsStream(EventTranslator):
    def __init__(self) -> None:
        super().__init__()
        self._rewrite = LegacyLogprobs()

    def translate(self, event: ServerSentEvent) -> Iterator[ServerSentEvent]:
        if event.data == DONE:
            yield event
        else:
            yield ServerSentEvent(json.dumps(self._rewrite(json.loads(event.data)), ensure_ascii=False), event.event)
