"""What a stored voice may be called. A name is shown and compared, and never becomes a path. Pure."""

import re
import secrets
from unicodedata import normalize

from serve_app.errors import BadRequest

LONGEST_NAME = 100
"""Characters."""
SHOWN = 40
ID = re.compile(r"voice_[0-9a-f]{24}")


def new_id() -> str:
    return f"voice_{secrets.token_hex(12)}"


def is_id(text: str) -> bool:
    return ID.fullmatch(text) is not None


def checked_name(given: str) -> str:
    """In one form for all ways to write the same characters, without space around it. Raises 400."""
    name = normalize("NFC", given).strip()
    if not name or len(name) > LONGEST_NAME:
        raise _refused(f"a voice's name has 1 to {LONGEST_NAME} characters")
    if not name.isprintable():
        raise _refused("a voice's name has no control characters, invisible ones, or spaces but the plain one")
    if is_id(name.casefold()):
        raise _refused("that is how ids of voices look")
    return name


def key(name: str) -> str:
    """The same for all names that differ by case only: https://www.unicode.org/versions/latest/core-spec/chapter-3/
    (canonical caseless matching)."""
    return normalize("NFD", normalize("NFD", name).casefold())


def shown(name: str) -> str:
    """For a message: a stranger's text, cut."""
    return "".join(one if one.isprintable() else "?" for one in name[:SHOWN])


def _refused(why: str) -> BadRequest:
    return BadRequest(400, f"Invalid value for 'name': {why}.", "invalid_value", "name")
