"""Tiny real GGUF models, made in seconds by this package: every engine path can run without a download.

Their answers are known: the chat model says "Hello from the tiny model!!", calls `get_weather` with the city
"Paris" when it is given tools; the loop model never stops; the rest embed, rerank and see, with random weights.
"""

from pathlib import Path

from providers.tiny.bert import make_embedder, make_reranker
from providers.tiny.chat import LOOPING, TALKING, make_chat_model
from providers.tiny.vision import make_projector

__all__ = ["make_demo_models"]


def make_demo_models(folder: Path) -> dict[str, Path]:
    """Make the five demo models in `folder` and return their paths by file name.

    A file that is already there with the right bytes is kept, any other is replaced in one step.
    Raises `OSError` if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        name: folder / name
        for name in ("tiny-chat.gguf", "tiny-loop.gguf", "tiny-embed.gguf", "tiny-rerank.gguf", "tiny-mmproj.gguf")
    }
    embedding_length = make_chat_model(paths["tiny-chat.gguf"], "tiny-chat", TALKING)
    make_chat_model(paths["tiny-loop.gguf"], "tiny-loop", LOOPING)
    make_embedder(paths["tiny-embed.gguf"])
    make_reranker(paths["tiny-rerank.gguf"])
    make_projector(paths["tiny-mmproj.gguf"], embedding_length)
    return paths
