"""What a request for speech says of its answer. What it says of the speech itself is the provider's to check. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from providers.base import JsonObject
from serve_app.audio.encode import Format
from serve_app.errors import BadRequest

SHOWN = 80
S = TypeVar("S", bound=StrEnum)


class StreamFormat(StrEnum):
    AUDIO = "audio"
    SSE = "sse"


@dataclass(frozen=True, slots=True)
class Answering:
    format: Format
    stream_format: StreamFormat

    @classmethod
    def of(cls, request: JsonObject) -> "Answering":
        """Raises 400."""
        return cls(
            _choice(request, "response_format", Format.MP3), _choice(request, "stream_format", StreamFormat.AUDIO)
        )

    @property
    def as_events(self) -> bool:
        return self.stream_format is StreamFormat.SSE


def _choice(request: JsonObject, param: str, default: S) -> S:
    value = request.get(param)
    if value is None:
        return default
    if not isinstance(value, str):
        raise BadRequest(400, f"Invalid type for '{param}': expected a string.", "invalid_type", param)
    kind = type(default)
    try:
        return kind(value)
    except ValueError as error:
        message = f"Invalid value for '{param}': '{value[:SHOWN]}'; allowed: {', '.join(kind)}."
        raise BadRequest(400, message, "invalid_value", param) from error
