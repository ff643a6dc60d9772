"""What a client says of a voice that is to be stored. Pure.

The fields are OpenAI's (https://platform.openai.com/docs/api-reference/audio/createVoice), with vLLM's `ref_text` for
`transcript`. `consent` is passed over: whose voice it is, this server's owner has to know.
"""

import unicodedata
from dataclasses import dataclass

from providers.tts.sentences import speakable
from serve_app.audio.fields import Fields
from serve_app.errors import BadRequest
from serve_app.voices.names import checked_name

FILE_FIELDS = ("audio_sample", "file")
TRANSCRIPT_FIELDS = ("transcript", "ref_text")
LONGEST_TRANSCRIPT = 2000
"""Characters; nobody says more in half a minute."""
FROM_SAMPLE = "audio_sample"


@dataclass(frozen=True, slots=True)
class CloneRequest:
    """`transcript`: None is to be found out. `model`: a slot that the voice is for."""

    name: str
    transcript: str | None
    model: str | None


def parsed(fields: Fields) -> CloneRequest:
    """Raises 400 for the first field that is wrong."""
    if (kind := fields.one("type")) not in (None, FROM_SAMPLE):
        message = f"Invalid value for 'type': '{kind[:40] if kind else ''}'; allowed: {FROM_SAMPLE}."
        raise BadRequest(400, message, "invalid_value", "type")
    name = fields.one("name")
    if name is None:
        raise BadRequest(400, "The field 'name' is required.", "missing_required_parameter", "name")
    return CloneRequest(checked_name(name), _transcript(fields), fields.one("model"))


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def _transcript(fields: Fields) -> str | None:
    for param in TRANSCRIPT_FIELDS:
        given = fields.one(param)
        if given is None:
            continue
        text = in_one_line(given)
        if len(text) > LONGEST_TRANSCRIPT:
            message = f"Invalid value for '{param}': it is longer than {LONGEST_TRANSCRIPT} characters."
            raise BadRequest(400, message, "invalid_value", param)
        if any(unicodedata.category(one) == "Cc" for one in text):
            raise BadRequest(400, f"Invalid value for '{param}': control characters.", "invalid_value", param)
        if not speakable(text):
            message = f"Invalid value for '{param}': nothing in it can be spoken; it needs a letter or a digit."
            raise BadRequest(400, message, "invalid_value", param)
        return text
    return None
