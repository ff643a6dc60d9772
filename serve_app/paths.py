"""Every path that leads to a slot, and the operation it stands for: OpenAI's, Anthropic's, and llama-server's own."""

from types import MappingProxyType

from providers.capabilities import Operation

POST_PATHS: MappingProxyType[str, Operation] = MappingProxyType(
    {
        "/v1/chat/completions": Operation.CHAT,
        "/chat/completions": Operation.CHAT,
        "/v1/completions": Operation.COMPLETION,
        "/completion": Operation.NATIVE_COMPLETION,
        "/completions": Operation.NATIVE_COMPLETION,
        "/v1/responses": Operation.RESPONSES,
        "/responses": Operation.RESPONSES,
        "/v1/messages": Operation.MESSAGES,
        "/messages": Operation.MESSAGES,
        "/v1/messages/count_tokens": Operation.COUNT_TOKENS,
        "/messages/count_tokens": Operation.COUNT_TOKENS,
        "/v1/embeddings": Operation.EMBEDDINGS,
        "/embedding": Operation.NATIVE_EMBEDDINGS,
        "/embeddings": Operation.NATIVE_EMBEDDINGS,
        "/v1/rerank": Operation.RERANK,
        "/v2/rerank": Operation.RERANK,
        "/v1/reranking": Operation.RERANK,
        "/v1/rerankings": Operation.RERANK,
        "/rerank": Operation.RERANK,
        "/reranking": Operation.RERANK,
        "/tokenize": Operation.TOKENIZE,
        "/detokenize": Operation.DETOKENIZE,
        "/apply-template": Operation.APPLY_TEMPLATE,
        "/infill": Operation.INFILL,
    }
)

GET_PATHS: MappingProxyType[str, Operation] = MappingProxyType(
    {
        "/props": Operation.PROPERTIES,
        "/slots": Operation.ENGINE_SLOTS,
    }
)

AUDIO_PATHS: MappingProxyType[str, Operation] = MappingProxyType(
    {
        "/v1/audio/transcriptions": Operation.TRANSCRIPTION,
        "/v1/audio/translations": Operation.TRANSLATION,
    }
)
"""Their bodies are forms with a file."""

SPEECH_PATH = "/v1/audio/speech"
REALTIME_PATH = "/v1/realtime"
"""A WebSocket."""

ANTHROPIC = frozenset({Operation.MESSAGES, Operation.COUNT_TOKENS})
ANTHROPIC_PATHS = frozenset(path for path, operation in POST_PATHS.items() if operation in ANTHROPIC)
