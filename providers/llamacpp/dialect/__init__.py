"""How llama.cpp's HTTP dialect differs from OpenAI's, Anthropic's and the rerankers', put right per operation."""

from providers.llamacpp.dialect.routes import route

__all__ = ["route"]
