"""How far a load is, by what `flm serve` writes: a line before it loads a model, and one when all are loaded. Pure.

Models for sounds and embeddings are announced and come first, the chat model last; whether there is one is not told
before its turn. So the share is of models, one for chat included: a slot without chat is further than it says. A chat
model alone has no share before it is there.
"""

import re

_ROLE = re.compile(r"\[FLM\]\s+(?:ASR|Embedding) mode enabled")
_BEGUN = re.compile(r"\[FLM\]\s+Loading model: ")
_LOADED = re.compile(r"\[FLM\]\s+Starting server on port")


def load_progress(output: str) -> float | None:
    """0..1; None where it is not known."""
    if _LOADED.search(output):
        return 1.0
    roles, begun = len(_ROLE.findall(output)), len(_BEGUN.findall(output))
    if not roles or not begun:
        return None
    return min(begun - 1, roles) / (roles + 1)
