"""Japanese and Mandarin to phonemes, by what Kokoro's makers used themselves: https://github.com/hexgrad/misaki

Optional: the extras `japanese` and `mandarin`. Their dictionaries come with their packages; nothing is downloaded.
"""

import logging
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

Phonemize = Callable[[str], str]

EXTRAS = {"ja": "japanese", "zh": "mandarin"}
_PACKAGES = {
    "ja": ("misaki", "fugashi", "jaconv", "mojimoji"),
    "zh": ("misaki", "jieba", "pypinyin", "cn2an", "ordered_set"),
}
_LATIN = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿ][A-Za-zÀ-ÖØ-öø-ÿ'’ -]*")
_LOOSE_MARK = re.compile(r"\s+([,.;:!?…)”])")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_AS_MARKS = str.maketrans("«»", "()")


def installed(language: str) -> bool:
    return all(find_spec(name) is not None for name in _PACKAGES[language])


def phonemizer(language: str, english: Phonemize, cache_dir: Path) -> Phonemize:
    """Raises ImportError and RuntimeError where a package or its dictionary is missing. Takes a second."""
    of_script = _japanese() if language == "ja" else _mandarin(cache_dir)
    return lambda text: _mixed(_GROUPED.sub("", text), of_script, english).translate(_AS_MARKS)


def _mixed(text: str, of_script: Phonemize, english: Phonemize) -> str:
    """Words in Latin letters are read as English."""
    parts: list[str] = []
    at = 0
    for word in _LATIN.finditer(text):
        parts += (of_script(text[at : word.start()]), english(word[0]))
        at = word.end()
    parts.append(of_script(text[at:]))
    joined = " ".join(filter(None, (part.strip() for part in parts)))
    return _LOOSE_MARK.sub(r"\1", joined)


def _japanese() -> Phonemize:
    # Not through `misaki.ja`, which imports another phonemizer beside, one that downloads its dictionary.
    cutlet = import_module("misaki.cutlet").Cutlet()
    return lambda text: str(cutlet(text)[0]) if text.strip() else ""


def _mandarin(cache_dir: Path) -> Phonemize:
    jieba = import_module("jieba")
    jieba.setLogLevel(logging.WARNING)
    # Its own place is a name in /tmp that anybody may have taken, and what is there it believes.
    cache_dir.mkdir(parents=True, exist_ok=True)
    jieba.dt.tmp_dir = str(cache_dir)
    mandarin = import_module("misaki.zh").ZHG2P()
    return lambda text: str(mandarin(text)[0]) if text.strip() else ""
