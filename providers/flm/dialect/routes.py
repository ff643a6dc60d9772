"""The front's path for each operation, and what the ingress makes of a request for it."""

from collections.abc import Mapping
from types import MappingProxyType

from providers.asr.dialect import Features
from providers.asr.dialect import route as hearing
from providers.base import Route
from providers.capabilities import Operation
from providers.flm.dialect.chat import translate_chat, translate_responses
from providers.flm.dialect.embeddings import translate_embeddings
from providers.flm.dialect.errors import relayed

CHAT_PATH, EMBEDDINGS_PATH = "/v1/chat/completions", "/v1/embeddings"
_HEARD = Features(languages=None, word_times=False, keywords=False)
_HEARING = hearing(lambda slot: _HEARD, queued=True)
_ROUTES: Mapping[Operation, Route] = MappingProxyType(
    {
        Operation.CHAT: Route(CHAT_PATH, relayed, translate=translate_chat),
        Operation.RESPONSES: Route(CHAT_PATH, relayed, translate=translate_responses),
        Operation.EMBEDDINGS: Route(EMBEDDINGS_PATH, relayed, translate=translate_embeddings, queued=True),
    }
)


def route(operation: Operation) -> Route | None:
    if operation in (Operation.TRANSCRIPTION, Operation.REALTIME):
        return _HEARING(operation)
    return _ROUTES.get(operation)
