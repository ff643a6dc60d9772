import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.tts.blend import LONGEST_NAME, MOST_VOICES, expanded, parsed

NAMES = st.text(st.characters(exclude_characters="+()", exclude_categories=("Z", "C")), min_size=1, max_size=20)
RATIOS = st.decimals(min_value="0.001", max_value=1000, places=3)
SPACES = st.sampled_from(["", " ", "\t ", "  "])


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("af_bella", {"af_bella": 1}),
        ("af_bella(2)+af_sky(1)", {"af_bella": 2 / 3, "af_sky": 1 / 3}),
        ("a+b", {"a": 0.5, "b": 0.5}),
        (" a ( 3 ) + b ", {"a": 0.75, "b": 0.25}),
        ("a(.5)+b(0.5)+c(1)", {"a": 0.25, "b": 0.25, "c": 0.5}),
        ("a+b+a", {"a": 2 / 3, "b": 1 / 3}),
        ("my voice(1)", {"my voice": 1}),
    ],
)
def test_a_blend_is_its_voices_and_their_parts_of_the_whole(text: str, shares: dict[str, float]) -> None:
    assert parsed(text) == pytest.approx(shares)


@pytest.mark.parametrize(
    "text",
    ["", " ", "+", "a+", "+a", "a++b", "a(", "a)", "a()", "(2)", "a(0)", "a(-1)", "a(1e9)", "a(nan)", "a(inf)", "a(2)b"]
    + ["a(0.0001)", "a(1001)", "a((2))", "a(1)(2)", "a(1,5)", "a" * (LONGEST_NAME + 1), "a(٣)"],
)
def test_what_is_no_blend(text: str) -> None:
    with pytest.raises(ValueError):
        parsed(text)


def test_a_blend_has_few_voices() -> None:
    names = [f"v{number}" for number in range(MOST_VOICES + 1)]
    assert len(parsed("+".join(names[:-1]))) == MOST_VOICES
    with pytest.raises(ValueError, match=str(MOST_VOICES)):
        parsed("+".join(names))


@given(st.lists(st.tuples(NAMES, RATIOS, SPACES), min_size=1, max_size=MOST_VOICES))
def test_weights_are_ratios_and_sum_to_one(parts: list[tuple[str, float, str]]) -> None:
    shares = parsed("+".join(f"{space}{name}{space}({space}{ratio}{space})" for name, ratio, space in parts))
    total = sum(float(ratio) for _, ratio, _ in parts)
    assert set(shares) == {name for name, _, _ in parts}
    assert math.isclose(sum(shares.values()), 1, abs_tol=1e-9)
    for voice, weight in shares.items():
        assert 0 < weight <= 1
        assert math.isclose(weight, sum(float(ratio) for name, ratio, _ in parts if name == voice) / total)


@given(st.text(st.sampled_from("ab+()1.0 -e٣"), max_size=40))
def test_any_text_is_a_blend_or_a_value_error(text: str) -> None:
    try:
        shares = parsed(text)
    except ValueError:
        return
    assert all(name == name.strip() and name for name in shares)
    assert math.isclose(sum(shares.values()), 1, abs_tol=1e-9)


def test_a_part_may_be_a_blend_itself() -> None:
    meanings = {"warm": parsed("a(3)+b(1)"), "b": parsed("b")}
    assert expanded(parsed("warm+b"), meanings.__getitem__) == pytest.approx({"a": 0.375, "b": 0.625})
