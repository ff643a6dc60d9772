"""vLLM's path for each operation, and what stands between it and the client."""

from collections.abc import Mapping
from types import MappingProxyType

from providers.base import Route
from providers.capabilities import Operation
from providers.vllm.dialect.chat import translate_chat, translate_completion, translate_responses
from providers.vllm.dialect.errors import engine_error
from providers.vllm.dialect.pooled import translate_embeddings, translate_rerank
from providers.vllm.dialect.tokens import translate_detokenize, translate_tokenize

_ROUTES: Mapping[Operation, Route] = MappingProxyType(
    {
        Operation.CHAT: Route("/v1/chat/completions", engine_error, translate=translate_chat),
        Operation.COMPLETION: Route("/v1/completions", engine_error, translate=translate_completion),
        Operation.RESPONSES: Route("/v1/chat/completions", engine_error, translate=translate_responses),
        Operation.MESSAGES: Route("/v1/messages", engine_error),
        Operation.COUNT_TOKENS: Route("/v1/messages/count_tokens", engine_error),
        Operation.EMBEDDINGS: Route("/v1/embeddings", engine_error, translate=translate_embeddings),
        Operation.RERANK: Route("/v1/rerank", engine_error, translate=translate_rerank),
        Operation.TOKENIZE: Route("/tokenize", engine_error, translate=translate_tokenize),
        Operation.DETOKENIZE: Route("/detokenize", engine_error, translate=translate_detokenize),
    }
)


def route(operation: Operation) -> Route | None:
    """None if it has none."""
    return _ROUTES.get(operation)
