"""Phonemes as espeak-ng writes them, in the symbols that Kokoro learnt. Pure.

Kokoro's makers phonemized what it learnt from with misaki, which writes diphthongs and affricates as one symbol each,
and English in fewer sounds than espeak-ng has: https://github.com/hexgrad/misaki/blob/main/EN_PHONES.md
"""

import unicodedata
from collections.abc import Sequence

TIE = "^"
"""Between the parts of what espeak-ng takes for one sound."""
SYLLABIC = "\u0329"
NASAL = "\u0303"

Replacements = Sequence[tuple[str, str]]

_EVERYWHERE: Replacements = (
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("d^z", "ʣ"),
    ("d^ʒ", "ʤ"),
    ("e^ɪ", "A"),
    ("o^ʊ", "O"),
    ("ə^ʊ", "Q"),
    ("s^s", "S"),
    ("t^s", "ʦ"),
    ("t^ʃ", "ʧ"),
    ("ɔ^ɪ", "Y"),
)
_BRITISH: Replacements = (("e^ə", "ɛː"), ("i^ə", "ɪə"), ("iə", "ɪə"))
_AMERICAN: Replacements = (("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪ^ə", "iə"), ("ɪə", "iə"), ("ː", ""))
_ENGLISH: Replacements = (
    ("ə^l", "ᵊl"),
    (f"n{SYLLABIC}", "ᵊn"),
    (f"l{SYLLABIC}", "ᵊl"),
    ("ʲo", "jo"),
    ("ʲə", "jə"),
    ("ʲ", ""),
    ("ɚ", "əɹ"),
    ("ɐ", "ə"),
    ("ɬ", "l"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ç", "k"),
    ("e", "A"),
    ("o", "ɔ"),
    ("ɾ", "T"),
    ("ʔ", "t"),
    (NASAL, ""),
)


def sounds(phonemes: str) -> bool:
    """Whether there is one among them, and not only marks of stress, of length and of punctuation."""
    return any(unicodedata.category(one) in ("Ll", "Lu", "Lo") for one in phonemes)


def symbols(phonemes: str, language: str) -> str:
    """`phonemes`: with ties. `language`: one of `names.LANGUAGES`."""
    # What is of one variety comes first: the sounds that it has of its own are parts of others.
    tables: dict[str, Sequence[Replacements]] = {
        "en-GB": (_BRITISH, _EVERYWHERE, _ENGLISH),
        "en-US": (_EVERYWHERE, _AMERICAN, _ENGLISH),
    }
    for table in tables.get(language, (_EVERYWHERE,)):
        for before, after in table:
            phonemes = phonemes.replace(before, after)
    # What espeak-ng means by hyphens nobody learnt.
    return phonemes.replace(TIE, "").replace("-", "")
