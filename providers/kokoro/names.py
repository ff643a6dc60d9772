"""The voices of Kokoro v1.0, what their names say, and the names of its files. Pure.

https://huggingface.co/hexgrad/Kokoro-82M/blob/main/VOICES.md
"""

from collections.abc import Iterable
from types import MappingProxyType

from providers.voices import Voice

MODEL, VOICES = "kokoro-v1.0.onnx", "voices-v1.0.bin"
"""As `kokoro-onnx` releases them."""
SAMPLE_RATE = 24_000
LONGEST_PHONEMES, STYLE_LENGTH = 510, 256
"""The most phonemes that the model speaks at once, for each number of which a voice has one style, and a style's
numbers."""

LANGUAGES = MappingProxyType(
    {
        "a": "en-US",
        "b": "en-GB",
        "e": "es",
        "f": "fr",
        "h": "hi",
        "i": "it",
        "j": "ja",
        "p": "pt-BR",
        "z": "zh",
    }
)
"""By the first letter of a voice's name, as BCP 47 has them."""
GENDERS = MappingProxyType({"f": "female", "m": "male"})
"""By the second."""

VOICE_NAMES = (
    *("af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river"),
    *("af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx"),
    *("am_puck", "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george"),
    *("bm_lewis", "ef_dora", "em_alex", "em_santa", "ff_siwis", "hf_alpha", "hf_beta", "hm_omega", "hm_psi"),
    *("if_sara", "im_nicola", "jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo", "pf_dora"),
    *("pm_alex", "pm_santa", "zf_xiaobei", "zf_xiaoni", "zf_xiaoxiao", "zf_xiaoyi", "zm_yunjian", "zm_yunxi"),
    *("zm_yunxia", "zm_yunyang"),
)
DEFAULT_VOICE = "af_heart"
"""The one that its makers grade best."""


def language_of(voice: str) -> str | None:
    """None for a voice whose name does not say, as those that are not Kokoro's own may be."""
    return LANGUAGES.get(voice[:1]) if voice[1:2] in GENDERS and voice[2:3] in ("", "_") else None


def voice_of(name: str) -> Voice:
    language = language_of(name)
    if language is None:
        return Voice(name, name)
    gender = GENDERS[name[1]]
    title = name[3:].replace("_", " ").title() or name
    return Voice(name, f"{title} ({language}, {gender})", language, gender)


def voices_of(names: Iterable[str]) -> tuple[Voice, ...]:
    return tuple(voice_of(name) for name in sorted(names))
