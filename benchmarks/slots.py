"""The slots that every path serves, so that only the path differs."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from providers.llamacpp.command import PROGRAM
from providers.tiny import make_demo_models

SlotRecord = dict[str, Any]

CHAT, LOOP, EMBED, THROTTLED, COLD = "chat", "loop", "embed", "throttled", "cold"
TOKENS_PER_S = 50
PARALLEL = 8


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
    throttled = {
        "binary": str(_throttled_program(folder)),
        "extra_args": ["--tokens-per-second", str(TOKENS_PER_S)],
    }
    return (
        _slot(CHAT, models["tiny-chat.gguf"], "chat", 1024, options),
        _slot(LOOP, models["tiny-loop.gguf"], "chat", 4096, options),
        _slot(EMBED, models["tiny-embed.gguf"], "embedding", 512, options),
        _slot(THROTTLED, models["tiny-chat.gguf"], "chat", 4096, throttled),
        _slot(COLD, models["tiny-chat.gguf"], "chat", 1024, options) | {"unload_after_s": 0, "idle_after_s": 0},
    )


def _slot(name: str, model: Path, capability: str, context_size: int, options: dict[str, Any]) -> SlotRecord:
    return {
        "name": name,
        "provider": "llama.cpp",
        "model": str(model),
        "capabilities": [capability],
        "device": "cpu",
        "context_size": context_size,
        "parallel_requests": PARALLEL,
        "unload_after_s": None,
        "options": options,
    }


def _throttled_program(folder: Path) -> Path:
    """A slot's `options.binary` is one word. `-P` keeps our module names off the program's import path."""
    program = folder / "throttled-engine"
    module = Path(__file__).with_name("throttled_engine.py")
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{module}" "$@"\n')
    program.chmod(0o755)
    return program
