"""What a slot of speech recognition can do, as its provider declares it, and the refusal of what it cannot. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from providers.asr.paths import SESSION_PATH
from providers.base import JsonObject, Route, Translation
from providers.capabilities import Operation
from providers.errors import UnsupportedRequest
from providers.native.errors import engine_error
from providers.spec import SlotSpec

OPERATIONS = frozenset({Operation.TRANSCRIPTION, Operation.TRANSLATION, Operation.REALTIME})


@dataclass(frozen=True, slots=True)
class Features:
    """`languages`: ISO 639-1 codes; None: all that Whisper knows. The rest says whether a field of a request is of use:
    one that is not is refused, but for `prompt` and `temperature`, which clients send by habit and which only hint."""

    languages: frozenset[str] | None = None
    word_times: bool = False
    keywords: bool = False


def route(features: Callable[[SlotSpec], Features], queued: bool = False) -> Callable[[Operation], Route | None]:
    """A provider's `infer`. `queued` as `Route` has it."""
    answer = Route(SESSION_PATH, engine_error, translate=_checker(features), queued=queued)
    return lambda operation: answer if operation in OPERATIONS else None


def _checker(features: Callable[[SlotSpec], Features]) -> Callable[[JsonObject, SlotSpec], Translation]:
    def check(request: JsonObject, slot: SlotSpec) -> Translation:
        """`request` has `language`, `word_times` and `keywords`, as `recognizer.Asked` has them."""
        refuse_unsupported(request, features(slot), slot.name)
        return Translation()

    return check


def refuse_unsupported(request: JsonObject, features: Features, slot: str) -> None:
    """Raises `UnsupportedRequest` for the first field that the slot cannot honour."""
    language = request.get("language")
    if language is not None and features.languages is not None and language not in features.languages:
        known = ", ".join(sorted(features.languages))
        message = f"Slot '{slot}' does not understand language '{language}'; it understands: {known}."
        raise UnsupportedRequest(message, "language", "unsupported_language")
    if request.get("word_times") and not features.word_times:
        message = f"The model of slot '{slot}' does not tell when words are spoken; ask for 'segment' only."
        raise UnsupportedRequest(message, "timestamp_granularities[]", "unsupported_timestamps")
    if request.get("keywords") and not features.keywords:
        raise UnsupportedRequest(f"Slot '{slot}' takes no keywords.", "keywords", "unsupported_keywords")
