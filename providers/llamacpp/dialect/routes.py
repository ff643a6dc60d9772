"""The engine's path for each operation, and what stands between it and the client."""

from collections.abc import Mapping
from types import MappingProxyType

from providers.base import Route
from providers.capabilities import Operation
from providers.llamacpp.dialect.chat import translate_chat, translate_template
from providers.llamacpp.dialect.completions import translate_completion, translate_infill, translate_native
from providers.llamacpp.dialect.embeddings import translate_embeddings, translate_native_embeddings
from providers.llamacpp.dialect.errors import engine_error
from providers.llamacpp.dialect.messages import translate_count, translate_messages
from providers.llamacpp.dialect.rerank import translate_rerank
from providers.llamacpp.dialect.responses import translate_responses
from providers.llamacpp.dialect.tokens import translate_detokenize, translate_tokenize

_ROUTES: Mapping[Operation, Route] = MappingProxyType(
    {
        Operation.CHAT: Route("/v1/chat/completions", engine_error, translate=translate_chat),
        Operation.COMPLETION: Route("/v1/completions", engine_error, translate=translate_completion),
        Operation.NATIVE_COMPLETION: Route("/completion", engine_error, translate=translate_native),
        Operation.RESPONSES: Route("/v1/chat/completions", engine_error, translate=translate_responses),
        Operation.MESSAGES: Route("/v1/messages", engine_error, translate=translate_messages),
        Operation.COUNT_TOKENS: Route("/v1/messages/count_tokens", engine_error, translate=translate_count),
        Operation.INFILL: Route("/infill", engine_error, translate=translate_infill),
        Operation.APPLY_TEMPLATE: Route("/apply-template", engine_error, translate=translate_template),
        Operation.EMBEDDINGS: Route("/v1/embeddings", engine_error, translate=translate_embeddings),
        Operation.NATIVE_EMBEDDINGS: Route("/embedding", engine_error, translate=translate_native_embeddings),
        Operation.RERANK: Route("/v1/rerank", engine_error, translate=translate_rerank),
        Operation.TOKENIZE: Route("/tokenize", engine_error, translate=translate_tokenize),
        Operation.DETOKENIZE: Route("/detokenize", engine_error, translate=translate_detokenize),
        Operation.PROPERTIES: Route("/props", engine_error, method="GET"),
        Operation.ENGINE_SLOTS: Route("/slots", engine_error, method="GET"),
    }
)


def route(operation: Operation) -> Route | None:
    """The engine's route for an operation; None if it has none."""
    return _ROUTES.get(operation)
