"""Where sentences end, and where a stop is a part of an abbreviation, a number or a name. Pure."""

import re
from collections.abc import Iterator

CLOSERS = "\"'”“’‘»«›‹)\\]}」』】）》〉*_"
OPENERS = "\"'“‘„‚«‹([{¿¡「『【（《〈*_–—-"
WIDE = "。！？｡।॥؟۔։።፧။៕"
"""They end a sentence whatever follows; the others want a space behind them."""
STOP = re.compile(
    rf"([.!?…‽⁇⁈⁉{WIDE}]+)(?:[“‘](?!\w)|[{CLOSERS.translate(str.maketrans('', '', '“‘'))}])*(?:\s»(?=\s|\Z))?"
)
"""`“` closes what is quoted in German; in Chinese, where no space tells, it opens what a letter follows."""
NEXT = re.compile(rf"\s*[{re.escape(OPENERS)}\s]*")
WORD = re.compile(r"[^\W\d_]+")
LAST = re.compile(r"[^\s'’\u2e80-\U0003ffff]+\Z")
"""The word before a stop. Nothing tells where one begins in Chinese and Japanese, but Latin ones among theirs; `l'avv`
is two."""
SPACED = re.compile(r"(?<!\S)(?:[^\W\d_]\.\s)+\S+\Z")
"""`z. B`, as typographers want it."""
GOES_ON = f"，、；：{WIDE}"
"""After a mark of `WIDE`, and what closes behind it, the sentence is not over."""
LONGEST_WORD = 40


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TITLES = _words("""
    dr mr mrs ms mx prof sr sra srta mme mlle hr fr frl gen col capt cpt lt cmdr sgt rev hon pres gov sen rep
    messrs adm maj supt dra dras drs sres sras srs srtas profa dña mmes mgr sigg sig.na avv egr
    डॉ प्रो ए बी सी डी एफ एच जे एल एम एन पी आर एस टी वी
    dott dott.ssa sig sig.ra st ste mt ft vs cf ca approx aprox bzw bzgl evtl ggf inkl exkl zzgl sog vgl resp al
""")
"""Something follows that they belong to."""
NUMBERED = _words("""
    no nos nr nrs núm art abs bd vol ch chap cap kap sec fig figs abb tab eq p pp s pag pág tel tél ext ed rm apt
    str max min est env ex rs रु
    jan feb mar apr jun jul aug sep sept oct nov dec okt dez
""")
"""The same before a number; else words of their own."""
PERHAPS_LAST = _words("jr inc ltd co corp bros mio mrd tsd av avda ave blvd mm ee cia ltda")
"""Something follows that they belong to, or a new sentence does."""
DOTTED = _words("e.g i.e z.b d.h u.a v.a z.t o.ä s.o s.u i.d.r p.ej p.ex p.es c.-à-d v.chr n.chr ph.d कि.मी")
"""Never the last word of a sentence that another follows, or hardly ever."""
BEFORE_ORDINALS = _words("""
    am im beim der die das den dem des det vom zum zur seit ab bis jede jeder jedes jeden jedem
    mein meine meinen meinem meiner sein seine seinen seinem seiner ihr ihre ihren ihrem ihrer
    unser unsere unseren unserem unserer dieser dieses diesen diesem
""")
MONTHS = _words("januar jänner februar märz april mai juni juli august september oktober november dezember")
"""German and its neighbours write `3.` for the third."""
STARTERS = _words("""
    a an the i we you he she it they this that these those there here in on at my our his her its their but and or so
    if when while what who why how where then now no yes not as after before der die das ein eine ich wir sie er es
    und aber el la los las un una yo y pero le les des je nous il elle et mais lo gli io noi ma o os as eu e mas
""")
"""Words that, with a capital letter, begin a sentence: no name, and no noun that an abbreviation belongs to."""


def split(block: str, cased: bool) -> Iterator[str]:
    """`cased`: the text has capital letters. In one without any, nothing follows from small ones."""
    start = 0
    for stop in STOP.finditer(block):
        if _ends(block, start, stop, cased):
            yield block[start : stop.end()].strip()
            start = stop.end()
    if rest := block[start:].strip():
        yield rest


def _ends(block: str, start: int, stop: re.Match[str], cased: bool) -> bool:
    marks = stop.group(1)
    following = NEXT.match(block, stop.end())
    assert following is not None
    if following.end() == len(block):
        return True
    upcoming = block[following.end()]
    if any(mark in WIDE for mark in marks):
        # Japanese says who said it: 「何？」と彼は言った。
        return upcoming not in GOES_ON and not (upcoming == "と" and stop.group()[-1] in "」』")
    if not following.group():
        wide = upcoming >= "\u2e80" and upcoming.isalpha()
        return wide and (marks != "." or _period_ends(block, start, stop, following.end()))
    if not following.group()[0].isspace():
        return following.group()[0] in "¿¡「『"
    if upcoming in ".…!?":
        return False
    small = cased and upcoming.islower()
    if any(mark in "!?‽⁇⁈⁉" for mark in marks):
        return not (small and marks != stop.group())
    if small or marks != ".":
        return not small
    return _period_ends(block, start, stop, following.end())


def _period_ends(block: str, start: int, stop: re.Match[str], upcoming: int) -> bool:
    before = block[max(start, stop.start() - LONGEST_WORD) : stop.start()]
    last = LAST.search(before)
    word = last.group().lstrip(OPENERS) if last is not None else ""
    known = word.lower()
    at_start = (
        block[start : stop.start()].lstrip(OPENERS + " ") == word if stop.start() - start <= LONGEST_WORD else False
    )
    if at_start and (len(word) == 1 or (word.isdecimal() and len(word) <= 3)):
        return False
    if known in TITLES or known in DOTTED or _spaced(before) in DOTTED:
        return False
    numbered = known in NUMBERED or known.rpartition(".")[2] in NUMBERED or known.endswith("str")
    if numbered and block[upcoming].isdigit():
        return False
    following = WORD.match(block, upcoming)
    then = following.group().lower() if following is not None else ""
    if len(then) == 1 and block.startswith(".", upcoming + 1):
        then = ""  # an initial: "J. A. Baker"
    if word.isdecimal() and len(word) <= 2:
        return then not in MONTHS and (then in STARTERS or not _before_ordinal(before))
    return not (_initials(word) or known in PERHAPS_LAST) or then in STARTERS


def _before_ordinal(before: str) -> bool:
    words = before.split()
    return len(words) > 1 and words[-2].lower() in BEFORE_ORDINALS


def _spaced(before: str) -> str:
    found = SPACED.search(before)
    return "".join(found.group().split()).lower() if found is not None else ""


def _initials(word: str) -> bool:
    """`J`, `U.S.A`, and the `z` of `z. B.`"""
    if len(word) == 1:
        return word.isupper() or word.islower()
    return bool(word) and all(len(part) == 1 and part.isupper() for part in word.split("."))
