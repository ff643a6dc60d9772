"""Texts of many kinds, as the sentences that are spoken."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.tts.sentences import Pause, Piece, sentences, speakable

LONGEST = 200


def texts(text: str, longest: int = LONGEST) -> list[str]:
    return [piece.text for piece in sentences(text, longest)]


@pytest.mark.parametrize(
    "whole",
    [
        # Abbreviations.
        "Dr. Smith and Mrs. Jones met Prof. Lee vs. Sr. López.",
        "Bring fruit, e.g. Apples, i.e. Food.",
        "Das gilt z.B. Montag, d.h. heute.",
        "It lies approx. Two miles away.",
        "See fig. 3, p. 12 and No. 5 of vol. 2.",
        "Siehe Nr. 5 und Art. 3 GG.",
        "They met on Jan. 5 and left in Oct. 2020.",
        "The U.S. Army came to the U.K. Parliament.",
        "She has a Ph.D. Student here.",
        "Pay Inc. a fee, etc. and go.",
        "Das gilt z. B. Montag, d. h. Der Rest, u. a. Dinge.",
        "Es war 44 v. Chr. im Winter.",
        "La Dra. López vive en la Av. Paulista, pág. 5.",
        "Er hat 5 Mio. Euro und wohnt Hauptstr. 5, Kap. 3.",
        "On Martin Luther King Jr. Day came Warner Bros. Pictures.",
        "डॉ. शर्मा और प्रो. ए. पी. जे. कलाम को रु. 500 मिले",
        "Ecco l'avv. Bianchi, MM. Dupont e gli EE. UU. oggi.",
        "我喜欢A.I.很好",
        "彼はDr.スミス",
        # Numbers.
        "It costs 3.14 or 1.000,50 at 12:30 with v1.2.3 and 5 %.",
        "Sie feierte ihren 50. Geburtstag.",
        "Am 3. Oktober und am 24. Dezember, im 19. Jahrhundert und bis zum 2. Weltkrieg.",
        # Names.
        "J. R. R. Tolkien and George W. Bush met.",
        "It was written by J. A. Baker, T. E. Lawrence and C. I. Lewis.",
        # What is said within a sentence.
        '"What?" he asked.',
        "He (wait!) left.",
        "Wait... what did you say?",
        "Well… maybe so.",
        "「何？」と彼は言った。",
        "「はい。」、そして（本当に？）。",
        "“真的？”，她问。",
        # Addresses.
        "Write to a.b@example.org or see https://example.org/a.b?c=d.e!f of ours.",
        "Read example.com. or not".removesuffix(". or not"),
        "Use node.js and .NET here.",
    ],
)
def test_what_is_one_sentence(whole: str) -> None:
    assert texts(whole) == [whole]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("He left at 5 p.m. Then he slept.", ["He left at 5 p.m.", "Then he slept."]),
        ("We saw the U.S.A. The trip was long.", ["We saw the U.S.A.", "The trip was long."]),
        ("So do I. We left.", ["So do I.", "We left."]),
        ("It was 1984. Winston left.", ["It was 1984.", "Winston left."]),
        ("There were 12. Nobody knew. I have 3. You 4.", ["There were 12.", "Nobody knew.", "I have 3.", "You 4."]),
        ("No. I said no. Really.", ["No.", "I said no.", "Really."]),
        ("It is of Acme Inc. The rest is not.", ["It is of Acme Inc.", "The rest is not."]),
        ('"Yes." "No!" (Maybe.) [Or.] Then.', ['"Yes."', '"No!"', "(Maybe.)", "[Or.]", "Then."]),
        ("„Ja.“ »Nein.« “So.” Gut.", ["„Ja.“", "»Nein.«", "“So.”", "Gut."]),
        ("Il dit « bon. » Oui. »Ja.« »Nein.«", ["Il dit « bon. »", "Oui.", "»Ja.«", "»Nein.«"]),
        ("It ended... Then it began.", ["It ended...", "Then it began."]),
        ("What?! Really!!! Yes…", ["What?!", "Really!!!", "Yes…"]),
        ("i went home. then i slept. ok? yes", ["i went home.", "then i slept.", "ok?", "yes"]),
        ("You are late! where were you?", ["You are late!", "where were you?"]),
        ("¡Hola! ¿Qué tal?¡Bien!", ["¡Hola!", "¿Qué tal?", "¡Bien!"]),
        ("你好。世界！「再见。」他说?是", ["你好。", "世界！", "「再见。」", "他说?", "是"]),
        ("你呢？“我很好。”他说。", ["你呢？", "“我很好。”", "他说。"]),
        (
            "It is of Warner Bros. The rest is by Jr. He left.",
            ["It is of Warner Bros.", "The rest is by Jr.", "He left."],
        ),
        ("1. Do it. 2. Stop. A. First.", ["1. Do it.", "2. Stop.", "A. First."]),
        ("很好.我来了", ["很好.", "我来了"]),
        ("네. 알겠습니다. 아니요", ["네.", "알겠습니다.", "아니요"]),
        ("今日は。元気ですか？はい", ["今日は。", "元気ですか？", "はい"]),
        ("नमस्ते। आप कैसे हैं॥ ठीक", ["नमस्ते।", "आप कैसे हैं॥", "ठीक"]),
        ("ما اسمك؟ أنا بخير. نعم", ["ما اسمك؟", "أنا بخير.", "نعم"]),
        ("یہ اردو ہے۔ ٹھیک", ["یہ اردو ہے۔", "ٹھیک"]),
        ("Привет. Как дела?", ["Привет.", "Как дела?"]),
        ("See https://example.org. It works.", ["See https://example.org.", "It works."]),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


def test_lines_lists_and_paragraphs() -> None:
    text = (
        "# A heading\nIts text is broken because this line is full, and it\ngoes on here.\nShopping:\n- milk\n* eggs\n"
        "• bread and\n  butter\n1. The first\n2) The second\na) The third\n\n---\n\n> Quoted\n\n\nThe end 😀"
    )
    found = sentences(text, LONGEST)
    assert [piece.text for piece in found] == [
        "A heading",
        "Its text is broken because this line is full, and it goes on here.",
        "Shopping:",
        "milk",
        "eggs",
        "bread and butter",
        "1. The first",
        "2) The second",
        "a) The third",
        "Quoted",
        "The end",
    ]
    assert [piece.pause for piece in found[-4:]] == [Pause.SENTENCE, Pause.PARAGRAPH, Pause.PARAGRAPH, Pause.PARAGRAPH]
    assert {piece.pause for piece in found[:-3]} == {Pause.SENTENCE}


def test_full_lines_of_ideographs_go_on() -> None:
    assert texts("我们今天去了公园看到了很多人在那里玩耍并且吃\n了很多东西。\n第二行\n短") == [
        "我们今天去了公园看到了很多人在那里玩耍并且吃了很多东西。",
        "第二行",
        "短",
    ]
    assert texts("한국어 문장은 이렇게 길게 쓰면 줄이 바뀌는 경우가\n있습니다") == [
        "한국어 문장은 이렇게 길게 쓰면 줄이 바뀌는 경우가 있습니다"
    ]


def test_verses_are_lines_of_their_own() -> None:
    assert texts("Tyger Tyger, burning bright,\nIn the forests of the night;\r\nWhat immortal hand") == [
        "Tyger Tyger, burning bright,",
        "In the forests of the night;",
        "What immortal hand",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good 😀 day 👨‍👩‍👧🏽! ☀️ Yes 🇩🇪.", ["Good day !", "Yes ."]),
        ("Press 1️⃣ now ❶ ①.", ["Press 1 now ❶ ①."]),
        ("It is 20 °C, © 2020, 5 € and 3×4→5.", ["It is 20 °C, © 2020, 5 € and 3×4 5."]),
        ("It is −5 °C, x ≤ 5, √2 ≠ 1.", ["It is −5 °C, x ≤ 5, √2 ≠ 1."]),
        ("a\0b\x1b[31mc\u200bd\ufeffe\u202ef\ud800g", ["ab[31mcdefg"]),
        ("**So.** *It* is 2*3, 2 * 3 and 2**3: ***yes***.", ["So.", "It is 2*3, 2 * 3 and 2**3: yes."]),
        ("one\ttwo\u00a0three\u3000four", ["one two three four"]),
        ("می‌خواهم क्‍ष", ["می‌خواهم क्‍ष"]),
        ("Z" + "\u0301" * 5000 + " ok", ["Z" + "\u0301" * 8 + " ok"]),
    ],
)
def test_what_cannot_be_spoken_is_left_out(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


@pytest.mark.parametrize("text", ["", " \n\t", "...", "?!", "😀 👍🏽", "—*_#", "\0\x07", "\u200d\u0301", "。॥؟"])
def test_nothing_to_speak(text: str) -> None:
    assert not speakable(text) and sentences(text, LONGEST) == []


@pytest.mark.parametrize("text", ["a", "... 5", "你", "अ", "½", "②"])
def test_something_to_speak(text: str) -> None:
    assert speakable(text) and len(sentences(text, LONGEST)) == 1


# Long ones.


def test_a_long_first_sentence_begins_with_its_first_clause() -> None:
    rest = "it goes on and on for a while without any other stop or mark at all, until it ends."
    assert sentences(f"Once upon a time, {rest} But {rest}", LONGEST)[:2] == [
        Piece("Once upon a time,", Pause.CLAUSE),
        Piece(rest, Pause.SENTENCE),
    ]
    assert texts("Oh, this is short, is it not?") == ["Oh, this is short, is it not?"]
    later = f"First. Once upon a time, {rest}"
    assert texts(later) == ["First.", f"Once upon a time, {rest}"], "only the first is waited for"


def test_long_sentences_are_cut_at_clauses() -> None:
    clauses = [
        "First." + " word" * 0,
        *(f"clause number {number} of the long sentence," for number in range(12)),
        "end.",
    ]
    found = sentences(" ".join(clauses), 120)[1:]
    assert len(found) >= 4 and all(40 < len(piece.text) <= 120 for piece in found)
    assert all(piece.text.endswith(",") and piece.pause is Pause.CLAUSE for piece in found[:-1])
    assert found[-1].pause is Pause.PARAGRAPH


def test_then_at_spaces_in_about_equal_parts() -> None:
    found = sentences("First. " + "word " * 50, 60)[1:]
    assert all(piece.text.split() == ["word"] * len(piece.text.split()) for piece in found)
    assert max(len(piece.text) for piece in found) - min(len(piece.text) for piece in found) <= 10
    assert [piece.pause for piece in found[:-1]] == [Pause.NONE] * (len(found) - 1)


def test_numbers_are_not_cut_at_their_marks() -> None:
    assert all("1,000.50" in text and "12:30" in text for text in texts("it is 1,000.50 at 12:30 " * 30, 48))


def test_then_anywhere_but_within_what_a_reader_takes_for_one_character() -> None:
    for grapheme in ("e\u0301\u0323", "क्षि", "가\u11a8", "\u1112\u1161\u11ab", "ｶﾞ", "ก\u0e49", "क्\u200dष"):
        for longest in (len(grapheme), 7, 10):
            parts = texts(grapheme * 50, longest)
            assert len(parts) > 1 and "".join(parts) == grapheme * 50
            assert all(len(part) % len(grapheme) == 0 for part in parts), (grapheme, longest)


def test_chinese_is_cut_at_its_commas() -> None:
    found = sentences("首先。" + "这是一个很长的句子，" * 20, 50)[1:]
    assert all(piece.text.endswith("，") and len(piece.text) <= 50 for piece in found)


@pytest.mark.parametrize(
    "text",
    [
        ". " * 30_000,
        "a." * 30_000,
        "(" * 60_000,
        "\n" * 60_000,
        " \n" * 30_000,
        "- " * 30_000,
        '."' * 30_000,
        ". *" * 20_000,
    ],
)
def test_hostile_texts_end(text: str) -> None:
    assert "".join(texts(text)).count("a") == text.count("a")


def spoken_of(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def simple(text: str) -> bool:
    """Whether each of its characters is a grapheme."""
    return all(unicodedata.category(one)[0] in "LNPSZ" and one not in "ﾞﾟ" and not "ᄀ" <= one <= "ᇿ" for one in text)


anything = st.text(max_size=300)
dense = st.text("aBé1०क्ष\u0301字。.!?,;:…  \n\n-#>*\"'()¿😀\u200d1️⃣٣ｶﾞ각", max_size=300)
wordy = st.lists(
    st.sampled_from(
        ["Dr.", "z.B.", "word", "The", "No.", "5", "3.14", "end.", "what?", "J.", "\n", "\n\n", "- ", "1.", "—", ","]
    )
).map(" ".join)


@given(st.one_of(anything, dense, wordy), st.integers(min_value=1, max_value=120))
def test_no_letter_and_no_digit_is_lost(text: str, longest: int) -> None:
    found = sentences(text, longest)
    assert spoken_of("".join(piece.text for piece in found)) == spoken_of(text)
    for piece in found:
        assert speakable(piece.text) and piece.text == piece.text.strip()
        assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in piece.text)
        assert len(piece.text) <= longest or not simple(piece.text)
    assert bool(found) == speakable(text)
    assert not found or found[-1].pause is Pause.PARAGRAPH
