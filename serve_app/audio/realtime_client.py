"""What a client may say in a realtime session. Pure.

https://platform.openai.com/docs/api-reference/realtime-client-events
"""

import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from pydantic_core import from_json

from providers.base import JsonObject
from serve_app.audio.realtime_settings import Settings, updated, updated_as_beta
from serve_app.errors import BadRequest

LARGEST_AUDIO = 15 * 2**20
"""Characters of base64 in one event. OpenAI's own limit; uvicorn's is 16 MiB for a whole message."""
FOREIGN = ("conversation.", "response.", "output_audio_buffer.")


@dataclass(frozen=True, slots=True)
class Update:
    """`change` raises `BadRequest`, and then nothing changes. `as_beta`: the client speaks OpenAI's beta dialect."""

    change: Callable[[Settings], Settings]
    as_beta: bool

    @property
    def path(self) -> str:
        """Of what is asked of the slot."""
        return "session.input_audio_transcription" if self.as_beta else "session.audio.input.transcription"


@dataclass(frozen=True, slots=True)
class Append:
    audio: bytes


@dataclass(frozen=True, slots=True)
class CommitAudio:
    pass


@dataclass(frozen=True, slots=True)
class ClearAudio:
    pass


ClientEvent = Update | Append | CommitAudio | ClearAudio


def fields_of(message: str | bytes) -> JsonObject:
    """The event as an object. Raises `BadRequest` for what is none."""
    if isinstance(message, bytes):
        raise BadRequest(400, "Events are JSON in text messages; audio is base64 in them.", "binary_message")
    try:
        fields: JsonValue = from_json(message, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(400, f"The event is not valid JSON: {error}.", "invalid_json") from None
    if not isinstance(fields, dict):
        raise BadRequest(400, "An event is a JSON object.", "invalid_json")
    return fields


def event_of(fields: JsonObject) -> ClientEvent:
    """Raises `BadRequest` for events and fields that are unknown, missing or of no use here."""
    kind = fields.get("type")
    if kind is None:
        raise BadRequest(400, "Missing required parameter: 'type'.", "missing_required_parameter", "type")
    read = READERS.get(kind) if isinstance(kind, str) else None
    if read is not None:
        return read(fields)
    if isinstance(kind, str) and kind.startswith(FOREIGN):
        message = f"A session of transcription has no '{kind[:80]}': it answers nothing and keeps no conversation."
        raise BadRequest(400, message, "unsupported_event", "type")
    known = ", ".join(f"'{one}'" for one in READERS)
    raise BadRequest(400, f"Invalid value: '{str(kind)[:80]}'. Supported values are: {known}.", "invalid_value", "type")


def _update(fields: JsonObject) -> Update:
    _only(fields, "session")
    session = _required(fields, "session")
    return Update(lambda settings: updated(settings, session), as_beta=False)


def _beta_update(fields: JsonObject) -> Update:
    """OpenAI's guide showed the settings beside `type`, its reference below `session`."""
    if "session" in fields:
        _only(fields, "session")
        session = fields["session"]
    else:
        session = {name: value for name, value in fields.items() if name not in ("type", "event_id")}
    return Update(lambda settings: updated_as_beta(settings, session), as_beta=True)


def _append(fields: JsonObject) -> Append:
    _only(fields, "audio")
    audio = _required(fields, "audio")
    if not isinstance(audio, str):
        raise BadRequest(400, "Invalid type for 'audio': expected base64 in a string.", "invalid_type", "audio")
    if len(audio) > LARGEST_AUDIO:
        message = f"'audio' is larger than {LARGEST_AUDIO // 2**20} MiB; send it in several events."
        raise BadRequest(400, message, "audio_too_large", "audio")
    try:
        return Append(binascii.a2b_base64(audio, strict_mode=True))
    except ValueError as error:
        raise BadRequest(400, f"Invalid 'audio': it is not base64 ({error}).", "invalid_value", "audio") from None


def _commit(fields: JsonObject) -> CommitAudio:
    _only(fields)
    return CommitAudio()


def _clear(fields: JsonObject) -> ClearAudio:
    _only(fields)
    return ClearAudio()


def _required(fields: JsonObject, name: str) -> JsonValue:
    if name not in fields:
        raise BadRequest(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    return fields[name]


def _only(fields: JsonObject, *names: str) -> None:
    for name in fields.keys() - {"type", "event_id", *names}:
        raise BadRequest(400, f"Unknown parameter: '{name[:80]}'.", "unknown_parameter", name[:80])


READERS: Mapping[str, Callable[[JsonObject], ClientEvent]] = {
    "session.update": _update,
    "transcription_session.update": _beta_update,
    "input_audio_buffer.append": _append,
    "input_audio_buffer.commit": _commit,
    "input_audio_buffer.clear": _clear,
}
