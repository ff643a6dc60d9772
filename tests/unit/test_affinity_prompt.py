"""What tells one prompt from another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.affinity_prompt import MARKS_AT, Prompt, prompt_of

USER = {"role": "user", "content": "Who was Ada Lovelace? " * 30}
ANSWER = {"role": "assistant", "content": "A mathematician. " * 30}
NEXT = {"role": "user", "content": "And then?"}


def told(payload: dict[str, Any]) -> Prompt:
    prompt = prompt_of(payload)
    assert prompt is not None
    return prompt


def shared(one: Prompt, other: Prompt) -> int:
    """How many marks they begin with."""
    pairs = zip(one.marks, other.marks, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(one.marks), len(other.marks)))


def test_marks_are_never_an_eighth_of_a_prompt_apart_once_it_is_long() -> None:
    assert MARKS_AT[:4] == (128, 256, 384, 512)
    steps = [(after - before) / before for before, after in zip(MARKS_AT[8:], MARKS_AT[9:], strict=False)]
    assert max(steps) <= 1 / 8
    assert sum(at < 400_000 for at in MARKS_AT) < 64, "a long conversation has some dozens"


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"messages": [USER]}, {"messages": [USER, ANSWER, NEXT]}),
        ({"system": "Be kind.", "messages": [USER]}, {"system": "Be kind.", "messages": [USER, ANSWER, NEXT]}),
        ({"input": [USER], "instructions": "Be kind."}, {"input": [USER, ANSWER, NEXT], "instructions": "Be kind."}),
        ({"messages": [USER], "temperature": 0}, {"temperature": 1, "messages": [USER, ANSWER, NEXT], "stream": True}),
        ({"prompt": "Once upon a time " * 50}, {"prompt": "Once upon a time " * 50 + "there was a king " * 50}),
    ],
    ids=["chat", "messages", "responses", "other options", "completion"],
)
def test_the_next_turn_begins_as_the_last_one(first: dict[str, Any], later: dict[str, Any]) -> None:
    one, other = told(first), told(later)
    assert shared(one, other) == len(one.marks) >= 5
    assert (one.opening, len(other.marks) > len(one.marks), other.size > one.size) == (other.opening, True, True)


def test_conversations_that_share_a_system_message_have_openings_of_their_own() -> None:
    system = {"role": "system", "content": "You are a helpful assistant. " * 100}
    one, other = (told({"messages": [system, {"role": "user", "content": who}]}) for who in ("Ada?", "Charles?"))
    assert shared(one, other) == len(one.marks) > 10
    assert one.opening != other.opening


def test_roles_and_pictures_count() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:" + "A" * 600}},
    ]
    picture = told({"messages": [{"role": "user", "content": parts}]})
    assert len(picture.marks) >= 4
    parts[1]["image_url"] = {"url": "data:" + "B" * 600}
    assert shared(picture, told({"messages": [{"role": "user", "content": parts}]})) <= 1


@pytest.mark.parametrize(
    "payload", [{}, {"messages": []}, {"messages": "x"[:0]}, {"prompt": None}, {"messages": 5}, {"input": ""}]
)
def test_a_request_that_says_nothing_has_no_prompt(payload: dict[str, Any]) -> None:
    assert prompt_of(payload) is None


TEXT = st.text(st.characters(codec="utf-8"), max_size=9)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["messages", "input", "prompt", "system", "instructions", "n"]), JSON))
def test_nothing_that_a_client_can_say_breaks_it(payload: dict[str, Any]) -> None:
    prompt_of(payload)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=2000), min_size=1, max_size=6), st.integers(1, 6))
def test_what_two_prompts_begin_with_is_what_their_marks_begin_with(texts: list[str], cut: int) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    one, other = told({"messages": messages}), told({"messages": messages[:cut]})
    assert shared(one, other) == len(other.marks) == sum(at <= other.size for at in MARKS_AT)
    assert one.opening == other.opening
