"""Tiny real models, made in seconds by this package: every engine path can run without a download.

Their answers are known: the chat model says "Hello from the tiny model!!", calls `get_weather` with the city
"Paris" when it is given tools; the loop model never stops; others embed, rerank and see, with random weights.
Both Moonshines transcribe the words of `providers.tiny.tones`, of which `tones.wav` has some, the Whisper hears
"hello world" in everything, and the Kokoro speaks with a tone for each phoneme.
"""

from pathlib import Path

from providers.tiny.bert import make_embedder, make_reranker
from providers.tiny.chat import LOOPING, TALKING, make_chat_model
from providers.tiny.kokoro import make_kokoro
from providers.tiny.moonshine import ToolsMissing, make_moonshine, make_moonshine_onnx, require_tools
from providers.tiny.sample import make_sample
from providers.tiny.vision import make_projector
from providers.tiny.whisper import make_whisper

__all__ = ["ToolsMissing", "make_demo_models"]

_FILES = ("tiny-chat.gguf", "tiny-loop.gguf", "tiny-embed.gguf", "tiny-rerank.gguf", "tiny-mmproj.gguf", "tones.wav")
_FOLDERS = ("tiny-moonshine", "tiny-moonshine-onnx", "tiny-whisper", "tiny-kokoro")


def make_demo_models(folder: Path) -> dict[str, Path]:
    """Make the demo models in `folder` and return their paths by name.

    A file that is already there with the right bytes is kept, any other is replaced in one step.
    Raises `ToolsMissing` if a package that makes them is not installed, `OSError` if the folder cannot be written.
    """
    require_tools()
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / name for name in (*_FILES, *_FOLDERS)}
    embedding_length = make_chat_model(paths["tiny-chat.gguf"], "tiny-chat", TALKING)
    make_chat_model(paths["tiny-loop.gguf"], "tiny-loop", LOOPING)
    make_embedder(paths["tiny-embed.gguf"])
    make_reranker(paths["tiny-rerank.gguf"])
    make_projector(paths["tiny-mmproj.gguf"], embedding_length)
    make_sample(paths["tones.wav"])
    make_moonshine(paths["tiny-moonshine"])
    make_moonshine_onnx(paths["tiny-moonshine-onnx"])
    make_whisper(paths["tiny-whisper"])
    make_kokoro(paths["tiny-kokoro"])
    return paths
