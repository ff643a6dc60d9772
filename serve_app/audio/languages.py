"""Languages of speech, by ISO 639-1 code and by English name: those that Whisper knows, and so every engine here.

https://github.com/openai/whisper/blob/main/whisper/tokenizer.py
"""

from types import MappingProxyType

_WHISPERS = """
af:afrikaans am:amharic ar:arabic as:assamese az:azerbaijani ba:bashkir be:belarusian bg:bulgarian bn:bengali
bo:tibetan br:breton bs:bosnian ca:catalan cs:czech cy:welsh da:danish de:german el:greek en:english es:spanish
et:estonian eu:basque fa:persian fi:finnish fo:faroese fr:french gl:galician gu:gujarati ha:hausa haw:hawaiian
he:hebrew hi:hindi hr:croatian ht:haitian_creole hu:hungarian hy:armenian id:indonesian is:icelandic it:italian
ja:japanese jw:javanese ka:georgian kk:kazakh km:khmer kn:kannada ko:korean la:latin lb:luxembourgish ln:lingala
lo:lao lt:lithuanian lv:latvian mg:malagasy mi:maori mk:macedonian ml:malayalam mn:mongolian mr:marathi ms:malay
mt:maltese my:myanmar ne:nepali nl:dutch nn:nynorsk no:norwegian oc:occitan pa:punjabi pl:polish ps:pashto
pt:portuguese ro:romanian ru:russian sa:sanskrit sd:sindhi si:sinhala sk:slovak sl:slovenian sn:shona so:somali
sq:albanian sr:serbian su:sundanese sv:swedish sw:swahili ta:tamil te:telugu tg:tajik th:thai tk:turkmen tl:tagalog
tr:turkish tt:tatar uk:ukrainian ur:urdu uz:uzbek vi:vietnamese yi:yiddish yo:yoruba yue:cantonese zh:chinese
"""

ENGLISH_NAMES: MappingProxyType[str, str] = MappingProxyType(
    dict(entry.replace("_", " ").split(":") for entry in _WHISPERS.split())
)

OTHER_NAMES: MappingProxyType[str, str] = MappingProxyType(
    {
        "burmese": "my",
        "castilian": "es",
        "farsi": "fa",
        "filipino": "tl",
        "flemish": "nl",
        "haitian": "ht",
        "letzeburgesch": "lb",
        "mandarin": "zh",
        "moldavian": "ro",
        "moldovan": "ro",
        "panjabi": "pa",
        "pushto": "ps",
        "sinhalese": "si",
        "valencian": "ca",
        # Codes that Whisper has by an older or a wider name.
        "fil": "tl",
        "iw": "he",
        "jv": "jw",
        "nb": "no",
    }
)
CODES: MappingProxyType[str, str] = MappingProxyType(
    {name: code for code, name in ENGLISH_NAMES.items()} | dict(OTHER_NAMES)
)


def language_code(text: str) -> str | None:
    """The code for `en`, `EN`, `en-US`, `en_US` or `English`; None for what is no such language."""
    name = " ".join(text.lower().split())
    code = name.replace("_", "-").partition("-")[0]
    for one in (name, code):
        if one in ENGLISH_NAMES:
            return one
        if one in CODES:
            return CODES[one]
    return None


def english_name(code: str | None) -> str:
    """As OpenAI writes it, in lower case; a code that is not known as it is, `unknown` for none."""
    return "unknown" if code is None else ENGLISH_NAMES.get(code, code)
