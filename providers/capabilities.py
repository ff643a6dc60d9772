"""What a slot can answer, and which capability each operation of the HTTP API needs."""

from enum import StrEnum
from types import MappingProxyType


class Capability(StrEnum):
    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    VISION = "vision"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    SPEECH = "speech"


class Operation(StrEnum):
    """One thing a client asks of a slot, whatever path it used to ask."""

    CHAT = "chat"
    COMPLETION = "completion"
    NATIVE_COMPLETION = "native_completion"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    INFILL = "infill"
    APPLY_TEMPLATE = "apply_template"
    EMBEDDINGS = "embeddings"
    NATIVE_EMBEDDINGS = "native_embeddings"
    RERANK = "rerank"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"
    PROPERTIES = "properties"
    ENGINE_SLOTS = "engine_slots"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    REALTIME = "realtime"
    SPEECH = "speech"


NEEDED_CAPABILITY: MappingProxyType[Operation, Capability | None] = MappingProxyType(
    {
        Operation.CHAT: Capability.CHAT,
        Operation.RESPONSES: Capability.CHAT,
        Operation.MESSAGES: Capability.CHAT,
        Operation.COUNT_TOKENS: Capability.CHAT,
        Operation.APPLY_TEMPLATE: Capability.CHAT,
        Operation.COMPLETION: Capability.COMPLETION,
        Operation.NATIVE_COMPLETION: Capability.COMPLETION,
        Operation.INFILL: Capability.COMPLETION,
        Operation.EMBEDDINGS: Capability.EMBEDDING,
        Operation.NATIVE_EMBEDDINGS: Capability.EMBEDDING,
        Operation.RERANK: Capability.RERANK,
        Operation.TOKENIZE: None,
        Operation.DETOKENIZE: None,
        Operation.PROPERTIES: None,
        Operation.ENGINE_SLOTS: None,
        Operation.TRANSCRIPTION: Capability.TRANSCRIPTION,
        Operation.TRANSLATION: Capability.TRANSLATION,
        Operation.REALTIME: Capability.TRANSCRIPTION,
        Operation.SPEECH: Capability.SPEECH,
    }
)
"""None: any slot whose provider offers the operation may answer."""

LIGHT = frozenset(
    {
        Operation.COUNT_TOKENS,
        Operation.APPLY_TEMPLATE,
        Operation.TOKENIZE,
        Operation.DETOKENIZE,
        Operation.PROPERTIES,
        Operation.ENGINE_SLOTS,
    }
)
"""Operations that an engine answers beside the requests that it is busy with: they need no place of their own."""

STREAMING = frozenset(
    {
        Operation.CHAT,
        Operation.COMPLETION,
        Operation.NATIVE_COMPLETION,
        Operation.RESPONSES,
        Operation.MESSAGES,
        Operation.INFILL,
    }
)
"""Operations that answer as a stream of events when the request says `stream: true`."""
