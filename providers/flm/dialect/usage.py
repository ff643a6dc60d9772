"""Tokens and times of an answer, as OpenAI and llama.cpp tell them."""

from collections.abc import Iterator

from pydantic import JsonValue

from providers.base import JsonObject

CHARACTERS_A_TOKEN = 4
"""In the mean, of English; where FLM does not count."""


def estimated_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_A_TOKEN)


def counted(usage: JsonObject) -> JsonObject:
    """FLM's `usage` as OpenAI's. Of the prompt FLM counts only the tokens that its cache did not have; all of them, and
    the answer's, are in `active_kv_tokens`."""
    fresh, said, active = (_whole(usage, name) for name in ("prompt_tokens", "completion_tokens", "active_kv_tokens"))
    return _usage(max(fresh, active - said), said, max(0, active - said - fresh))


def estimated(messages: JsonValue, pieces: int) -> JsonObject:
    """Of an answer that was cut before FLM told: four characters of text make a token, and so does a piece."""
    return _usage(estimated_tokens("".join(_texts(messages))), pieces, 0)


def timings(usage: JsonObject) -> JsonObject:
    """FLM's seconds as llama.cpp's `timings`; empty where it tells none."""
    if "decoding_duration" not in usage:
        return {}
    return {
        "prompt_n": _whole(usage, "prompt_tokens"),
        "prompt_ms": _number(usage, "prefill_duration_ttft") * 1000,
        "prompt_per_second": _number(usage, "prefill_speed_tps"),
        "predicted_n": _whole(usage, "completion_tokens"),
        "predicted_ms": _number(usage, "decoding_duration") * 1000,
        "predicted_per_second": _number(usage, "decoding_speed_tps"),
    }


def _texts(value: JsonValue) -> Iterator[str]:
    """All but pictures, the names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict) and value.get("type") != "image_url":
        for name, item in value.items():
            yield name
            yield from _texts(item)


def _usage(prompt: int, said: int, cached: int) -> JsonObject:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": said,
        "total_tokens": prompt + said,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _whole(usage: JsonObject, name: str) -> int:
    return int(_number(usage, name))


def _number(usage: JsonObject, name: str) -> float:
    value = usage.get(name)
    return value if isinstance(value, int | float) else 0.0
