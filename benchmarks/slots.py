"""The slots that every path serves, so that only the path differs."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from providers.llamacpp.command import PROGRAM
from providers.tiny import make_demo_models

SlotRecord = dict[str, Any]

CHAT, LOOP, EMBED, RERANK, VISION = "chat", "loop", "embed", "rerank", "vision"
INSTANT, PACED = "instant", "paced"
"""On the load model of `upstream.py`."""
COLD, LEFT, RIGHT = "cold", "left", "right"
STARTED_ANEW = (COLD, LEFT, RIGHT)
"""By every measurement."""
SEAT = "seat"
"""The custom resource of which there is one, and of which `LEFT` and `RIGHT` take one each."""
TOKENS_PER_S = 50
PARALLEL = 8
CROWD = 16
"""As many requests at once as there are clients where engines are crowded, so that nobody waits for a place."""
MANY = 256


def find_llama_server() -> Path | None:
    """From LLAMA_SERVER or PATH; None: the embedded engine serves on every path, and there is no router to measure."""
    found = os.environ.get("LLAMA_SERVER") or shutil.which(PROGRAM)
    return Path(found).absolute() if found else None


def make_slots(folder: Path, llama_server: Path | None) -> tuple[SlotRecord, ...]:
    """Slots with their models and programs made in `folder`."""
    models = make_demo_models(folder / "models")
    # A tiny model gains nothing from more threads, and idle ones spin on the cores that all sides share.
    options: dict[str, Any] = {"threads": 1}
    if llama_server is not None:
        options["binary"] = str(llama_server)
    load_model = {"binary": str(upstream_program(folder))}
    chat, loop = models["tiny-chat.gguf"], models["tiny-loop.gguf"]
    short_lived = {"unload_after_s": 0, "idle_after_s": 0}
    seated = {"idle_after_s": 0, "resources": {"custom": {SEAT: 1}}}
    return (
        _slot(CHAT, chat, "chat", 1024, options),
        _slot(LOOP, loop, "chat", 4096, options),
        _slot(EMBED, models["tiny-embed.gguf"], "embedding", 512, options),
        _slot(RERANK, models["tiny-rerank.gguf"], "rerank", 512, options),
        _slot(VISION, chat, "vision", 2048, options) | {"companions": {"mmproj": str(models["tiny-mmproj.gguf"])}},
        _slot(INSTANT, chat, "chat", 1024, load_model | {"extra_args": ["--tokens-per-second", "0"]}),
        _slot(PACED, chat, "chat", 4096, load_model | {"extra_args": ["--tokens-per-second", str(TOKENS_PER_S)]})
        | {"parallel_requests": MANY},
        _slot(COLD, chat, "chat", 1024, options) | short_lived,
        _slot(LEFT, chat, "chat", 1024, options) | seated,
        _slot(RIGHT, chat, "chat", 1024, options) | seated,
    )


def _slot(name: str, model: Path, capability: str, context_size: int, options: dict[str, Any]) -> SlotRecord:
    return {
        "name": name,
        "provider": "llama.cpp",
        "model": str(model),
        "capabilities": [capability] if capability != "vision" else ["chat", "vision"],
        "device": "cpu",
        "context_size": context_size,
        "parallel_requests": CROWD,
        "unload_after_s": None,
        "options": options,
    }


def upstream_program(folder: Path) -> Path:
    """A slot's `options.binary` is one word. `-P` keeps our module names off the program's import path."""
    program = folder / "upstream"
    module = Path(__file__).with_name("upstream.py")
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{module}" "$@"\n')
    program.chmod(0o755)
    return program
