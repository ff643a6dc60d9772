"""The Responses API over the engine's chat completions.

The engine has a `/v1/responses` of its own, but its answer does not tell a finished text from one that was cut, its
stream lacks the indices that OpenAI's client needs, and it ignores `text.format`; its chat answer has all of it.
"""

from providers.base import JsonObject, Translation
from providers.llamacpp.dialect.chat import adapted
from providers.openai.responses import translation
from providers.spec import SlotSpec


def translate_responses(body: JsonObject, slot: SlotSpec) -> Translation:
    return translation(body, slot, adapted)
