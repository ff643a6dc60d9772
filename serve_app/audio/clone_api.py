"""Stored voices, one at a time: `/v1/audio/voices/{name}`, by id or name. A list of them is the speech API's."""

from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from providers.base import JsonObject
from serve_app.audio.threads import in_thread
from serve_app.errors import BadRequest
from serve_app.voices import StoredVoice, VoiceStore
from serve_app.voices.names import shown


class StoredVoicesApi:
    """The path's parameter is `name`; names may hold slashes."""

    def __init__(self, store: VoiceStore) -> None:
        self._store = store

    async def voice(self, request: Request) -> Response:
        name: str = request.path_params["name"]
        found = await in_thread(partial(self._store.find, name))
        if found is None:
            raise unknown(name)
        return JSONResponse(described(found))

    async def remove(self, request: Request) -> Response:
        """Speech that has begun with the voice goes on."""
        name: str = request.path_params["name"]
        gone = await in_thread(partial(self._store.remove, name))
        if gone is None:
            raise unknown(name)
        return JSONResponse({"id": gone.id, "object": "audio.voice.deleted", "deleted": True})


def described(voice: StoredVoice) -> JsonObject:
    """OpenAI's object, with what is known beside it; `duration` in seconds."""
    return {
        "id": voice.id,
        "object": "audio.voice",
        "name": voice.name,
        "created_at": voice.created_at,
        "type": "audio_sample",
        "duration": round(voice.duration_s, 3),
        "transcript": voice.transcript,
    }


def unknown(name: str) -> BadRequest:
    message = f"There is no stored voice '{shown(name)}'. GET /v1/audio/voices lists all voices."
    return BadRequest(404, message, "voice_not_found", "voice")
