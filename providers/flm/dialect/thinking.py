"""Whether, and how long, a model is to think before it answers."""

from pydantic import JsonValue

from providers.base import JsonObject
from providers.openai.checks import boolean, one_of

_EFFORTS = {"none": "low", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
"""OpenAI's, and what FLM knows."""
_UNTHINKING = ("none", "minimal")
_KNOWN = one_of(*_EFFORTS)


def thinking(body: JsonObject) -> JsonObject:
    """FLM's `think` and `reasoning_effort` (gpt-oss alone heeds it), where the request says something of it: FLM's own
    field comes before the template's, and that before OpenAI's."""
    effort = body.get("reasoning_effort")
    asked: JsonObject = {}
    if effort is not None:
        _KNOWN("reasoning_effort", effort)
        asked = {"think": effort not in _UNTHINKING, "reasoning_effort": _EFFORTS[str(effort)]}
    for think in (_of_template(body), body.get("think")):
        if think is not None:
            asked["think"] = think
    return asked


def _of_template(body: JsonObject) -> JsonValue:
    settings = body.get("chat_template_kwargs")
    value = settings.get("enable_thinking") if isinstance(settings, dict) else None
    if value is not None:
        boolean("chat_template_kwargs.enable_thinking", value)
    return value
