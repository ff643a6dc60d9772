"""Every route of sound: files and live speech to text, text to speech, and voices."""

from collections.abc import Iterator, Mapping

import aiohttp
from starlette.routing import BaseRoute, Route, WebSocketRoute

from serve_app.audio.clone import Cloning
from serve_app.audio.clone_api import StoredVoicesApi
from serve_app.audio.realtime import NoWebSocket, Realtime
from serve_app.audio.realtime_session import Limits
from serve_app.audio.speech import Speech
from serve_app.audio.transcriptions import Transcriptions
from serve_app.audio.upload import UploadLimits
from serve_app.audio.voices_api import VoicesApi
from serve_app.config import IngressConfig
from serve_app.directory import SlotDirectory
from serve_app.leases import LeasePool
from serve_app.models import ModelStore
from serve_app.paths import AUDIO_PATHS, REALTIME_PATH, SPEECH_PATH
from serve_app.patience import Patience
from serve_app.settings import Settings
from serve_app.voices import VoiceStore

MIB = 2**20


def audio_routes(
    directory: SlotDirectory,
    pools: Mapping[str, LeasePool],
    http: aiohttp.ClientSession,
    patience: Patience,
    limits: IngressConfig,
    settings: Settings,
) -> Iterator[BaseRoute]:
    body_bytes, upload_bytes = int(limits.max_body_mib * MIB), int(limits.max_upload_mib * MIB)
    upload = UploadLimits(upload_bytes, limits.upload_timeout_s)
    for path, operation in AUDIO_PATHS.items():
        endpoint = Transcriptions(operation, directory, pools, http, upload, patience, limits.max_audio_s)
        yield Route(path, endpoint, methods=["POST"])
    yield WebSocketRoute(
        REALTIME_PATH, Realtime(directory, pools, http, patience, Limits(idle_s=limits.realtime_idle_s))
    )
    yield Route(REALTIME_PATH, NoWebSocket())
    brought = VoiceStore(limits.voices_dir.expanduser() if limits.voices_dir else settings.voices_dir)
    brought.tidy()
    speech = Speech(directory, pools, http, body_bytes, patience, brought, limits.upload_timeout_s)
    yield Route(SPEECH_PATH, speech, methods=["POST"])
    listed, stored = VoicesApi(directory, ModelStore(settings.models_dir), brought), StoredVoicesApi(brought)
    yield Route("/v1/audio/models", listed.models)
    yield Route("/v1/audio/voices", listed.voices, methods=["GET"])
    yield Route("/v1/audio/voices", Cloning(brought, directory, pools, http, patience), methods=["POST"])
    yield Route("/v1/audio/voices/{name:path}", stored.voice, methods=["GET"])
    yield Route("/v1/audio/voices/{name:path}", stored.remove, methods=["DELETE"])
