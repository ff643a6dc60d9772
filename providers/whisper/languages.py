"""The languages that Whisper knows. A model may know less: an English one, or one from before Cantonese. Pure.

https://github.com/openai/whisper/blob/main/whisper/tokenizer.py
"""

import re

ENGLISH = "en"
_CODES = """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is
    it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl
    sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh
"""
LANGUAGES = frozenset(_CODES.split())
"""ISO 639-1 codes, but for `haw` and `yue`, which have none, and `jw`, an old one of Javanese."""

_ENGLISH_NAME = re.compile(r"\.en(@|/|$)")


def named_english(source: str) -> bool:
    """Whether a model's source says that it knows English alone, as `hf://Systran/faster-whisper-small.en` does."""
    return _ENGLISH_NAME.search(source) is not None
