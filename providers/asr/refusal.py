"""What a loaded model refuses, where only its files told that it cannot."""

from providers.asr.dialect import Features, refuse_unsupported
from providers.asr.recognizer import Asked
from providers.base import JsonObject


def refuse_what_it_cannot(asked: Asked, features: Features, slot: str) -> None:
    """Raises `UnsupportedRequest`, as the ingress does for what the slot's configuration tells."""
    request: JsonObject = {
        "language": asked.language,
        "word_times": asked.word_times,
        "keywords": list(asked.keywords),
    }
    refuse_unsupported(request, features, slot)
