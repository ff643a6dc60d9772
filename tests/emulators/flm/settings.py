"""What the environment says: first what the real program reads, then the emulator's own."""

import os
from pathlib import Path

DEFAULT_PORT = 52625


def base_folder() -> Path:
    """FLM_MODEL_PATH; models are in `models/` under it."""
    return Path(os.environ.get("FLM_MODEL_PATH") or Path.home() / ".config" / "flm")


def catalogue_file() -> Path | None:
    given = os.environ.get("FLM_CONFIG_PATH")
    return Path(given) if given else None


def port(asked: int) -> int:
    """The option if it is a port, else FLM_SERVE_PORT if that is one."""
    given = os.environ.get("FLM_SERVE_PORT", "")
    for candidate in (asked, int(given) if given.isdecimal() else 0):
        if 0 < candidate <= 65535:
            return candidate
    return DEFAULT_PORT


def version() -> str:
    return os.environ.get("FLM_EMULATOR_VERSION", "0.9.45")


def numbers(text: str) -> tuple[int, ...]:
    """Of a version, to compare it by; what is no number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split("."))


def paced(seconds: float) -> float:
    """How long the emulator waits where the real program waits so long."""
    return seconds * float(os.environ.get("FLM_EMULATOR_PACE", "1"))


def load_s() -> float:
    return float(os.environ.get("FLM_EMULATOR_LOAD_S", "0.05"))


def tokens_per_s() -> float:
    return float(os.environ.get("FLM_EMULATOR_TOKENS_PER_S", "200"))


def chat_url() -> str | None:
    """An OpenAI-compatible server that speaks instead of the script."""
    return os.environ.get("FLM_EMULATOR_CHAT_URL", "").rstrip("/") or None


def answer() -> str:
    return os.environ.get("FLM_EMULATOR_ANSWER", "Hello from the tiny model!!")
