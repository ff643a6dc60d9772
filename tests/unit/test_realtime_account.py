"""What of a session's audio another engine would have to hear."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.asr.cutting import Began, Cut, Piece
from providers.asr.messages import (
    Clear,
    Cleared,
    Commit,
    Committed,
    Configure,
    Event,
    Failed,
    Final,
    SpeechStarted,
    Start,
    TurnDetection,
)
from providers.asr.recognizer import SAMPLE_RATE, Asked, Samples
from providers.asr.utterances import UtteranceCutter
from providers.asr.voice import FRAME
from serve_app.audio.live_account import BYTES_PER_S, MOST_KEPT_S, Account, Unsettled

MANUAL = Start(live=True)
DETECTED = Start(live=True, turns=TurnDetection())
BEFORE_S = 1.46
"""What is kept of silence, by default: a padding of 0.3 s, twice a pause of 0.5 s, and 0.16 s."""


LONGEST_S = 100.0


def audio(seconds: float, first: int = 0) -> bytes:
    """Each sample is another than those near it."""
    return (np.arange(first, first + round(seconds * SAMPLE_RATE)) % 32_768).astype("<i2").tobytes()


def account(start: Start, seconds: float) -> Account:
    kept = Account(start)
    kept.sent(audio(seconds))
    return kept


# Without detection.


def test_what_the_client_has_not_committed_is_under_way() -> None:
    kept = Account(MANUAL)
    assert not kept.under_way
    kept.sent(audio(3))
    assert kept.under_way and kept.unsettled() == Unsettled(0.0, audio(3), 0.0)
    kept.sent(Commit())
    assert kept.under_way, "until the engine has said so"
    kept.heard(Committed(utterance=0, start_s=0, end_s=3))
    assert not kept.under_way and kept.unsettled() == Unsettled(3.0, b"", 0.0)


def test_what_was_too_long_for_one_utterance_is_settled_but_for_the_rest() -> None:
    kept = account(MANUAL, 12)
    kept.heard(Committed(utterance=0, start_s=0, end_s=9.5))
    assert kept.under_way and kept.unsettled() == Unsettled(9.5, audio(12)[round(9.5 * BYTES_PER_S) :], 0.0)


def test_what_is_cleared_is_not_heard_again() -> None:
    kept = account(MANUAL, 3)
    kept.sent(Clear())
    assert not kept.under_way and kept.clears_due == 1
    kept.sent(audio(1))
    kept.heard(Cleared())
    assert kept.under_way and kept.clears_due == 0
    assert kept.unsettled() == Unsettled(3.0, audio(1), 0.0)


def test_no_more_is_kept_than_a_minute_and_what_is_lost_is_said() -> None:
    kept = Account(MANUAL)
    for second in range(75):
        kept.sent(audio(1, second * SAMPLE_RATE))
    rest = kept.unsettled()
    assert (rest.at_s, rest.lost_s, len(rest.audio)) == (15.0, 15.0, MOST_KEPT_S * BYTES_PER_S)
    assert rest.audio == audio(75)[15 * BYTES_PER_S :]


# With detection.


def test_of_silence_only_the_end_is_kept() -> None:
    kept = account(DETECTED, 10)
    assert not kept.under_way
    rest = kept.unsettled()
    assert rest.at_s == pytest.approx(10 - BEFORE_S) and rest.lost_s == 0
    assert rest.audio == audio(10)[-round(BEFORE_S * BYTES_PER_S) :]


def test_but_nothing_of_the_utterance_before_it() -> None:
    kept = account(DETECTED, 10)
    kept.heard(SpeechStarted(utterance=0, at_s=7))
    kept.heard(Committed(utterance=0, start_s=7, end_s=9.5))
    assert kept.unsettled() == Unsettled(9.5, audio(10)[round(9.5 * BYTES_PER_S) :], 0.0)


@pytest.mark.parametrize("begin_s", [2.0, 9.9])
def test_speech_is_kept_from_before_its_beginning(begin_s: float) -> None:
    kept = account(DETECTED, 10)
    kept.heard(SpeechStarted(utterance=0, at_s=begin_s))
    assert kept.under_way
    assert kept.unsettled().at_s == pytest.approx(min(begin_s, 10 - BEFORE_S))
    kept.heard(Cleared())
    assert not kept.under_way


def test_the_settings_are_those_that_the_engine_was_told() -> None:
    kept = account(DETECTED, 1)
    assert kept.start is DETECTED
    kept.sent(Configure(asked=Asked(prompt="names"), turns=None))
    assert kept.start == Start(live=True, asked=Asked(prompt="names"))
    assert kept.under_way
    kept.sent(Configure(turns=TurnDetection(prefix_padding_ms=0, silence_duration_ms=100)))
    assert kept.unsettled().at_s == pytest.approx(1 - 0.36)


def test_a_text_is_due_from_the_commit_to_the_text_or_its_failure() -> None:
    kept = account(DETECTED, 5)
    ends: list[Event] = [Final(utterance=0, segments=()), Failed(utterance=1, message="no")]
    for number, end in enumerate(ends):
        kept.heard(Committed(utterance=number, start_s=number, end_s=number + 1))
        assert kept.text_due
        kept.heard(end)
        assert not kept.text_due


class Judge:
    """A voice detector of samples that are probabilities already."""

    def __init__(self) -> None:
        self._rest = np.empty(0, np.float32)

    def feed(self, samples: Samples) -> Samples:
        known = np.concatenate((self._rest, samples))
        whole = len(known) // FRAME * FRAME
        self._rest = known[whole:]
        found: Samples = known[:whole:FRAME]
        return found


@given(
    st.lists(st.booleans(), max_size=150),
    st.integers(0, 150 * FRAME),
    st.integers(0, 700),
    st.integers(50, 700),
)
def test_utterances_are_the_same_whenever_the_engine_changes(
    frames: list[bool], change_at: int, padding_ms: int, silence_ms: int
) -> None:
    """`frames` are speech or not. The second engine hears what the account says, and then the rest."""
    turns = TurnDetection(prefix_padding_ms=padding_ms, silence_duration_ms=silence_ms)
    samples: Samples = np.repeat(np.array(frames, np.float32), FRAME)
    change_at = min(change_at, len(samples))
    kept = Account(Start(live=True, turns=turns))
    kept.sent(bytes(2 * change_at))
    told = UtteranceCutter(Judge(), turns, LONGEST_S).feed(samples[:change_at])
    for cut in told:
        if isinstance(cut, Began):
            kept.heard(SpeechStarted(utterance=0, at_s=cut.start / SAMPLE_RATE))
        else:
            kept.heard(Committed(utterance=0, start_s=cut.start / SAMPLE_RATE, end_s=cut.end / SAMPLE_RATE))
    rest = kept.unsettled()
    again = round(rest.at_s * SAMPLE_RATE)
    assert len(rest.audio) == 2 * (change_at - again)
    # To have frames fall where they fell before; the judge knows no others.
    again -= again % FRAME
    found = pieces(told) + pieces(UtteranceCutter(Judge(), turns, LONGEST_S, again).feed(samples[again:]))
    expected = pieces(UtteranceCutter(Judge(), turns, LONGEST_S).feed(samples))
    assert [end for _, end in found] == [end for _, end in expected]
    assert all(abs(start - wanted) < FRAME for (start, _), (wanted, _) in zip(found, expected, strict=True))


def pieces(cuts: list[Cut]) -> list[tuple[int, int]]:
    return [(cut.start, cut.end) for cut in cuts if isinstance(cut, Piece)]
