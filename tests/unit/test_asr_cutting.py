"""Cutting audio to pieces: no sample lost or doubled, whatever chunks it comes in; utterances are where speech is."""

import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.asr.cutting import Began, BlockCutter, Cut, Cutter, Piece
from providers.asr.messages import TurnDetection
from providers.asr.recognizer import SAMPLE_RATE, Samples
from providers.asr.tape import Tape
from providers.asr.utterances import UtteranceCutter
from providers.asr.voice import FRAME, LevelDetector, SileroModel
from providers.tiny.tones import WORD_S, tones
from tests.support.asr_speech import speech

TURNS = TurnDetection()
MakeCutter = Callable[[], Cutter]


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def by_level(longest_s: float = 30.0, turns: TurnDetection = TURNS) -> UtteranceCutter:
    return UtteranceCutter(LevelDetector(), turns, longest_s)


def cuts_of(cutter: Cutter, audio: Samples, chunks: Sequence[int] = (16_384,)) -> list[Cut]:
    """Chunks are repeated as often as needed."""
    cuts: list[Cut] = []
    at = order = 0
    while at < len(audio):
        size = chunks[order % len(chunks)]
        cuts += cutter.feed(audio[at : at + size])
        at, order = at + size, order + 1
    return cuts + cutter.finish()


def pieces(cuts: Sequence[Cut]) -> list[Piece]:
    return [cut for cut in cuts if isinstance(cut, Piece)]


def check_slices(audio: Samples, found: Sequence[Piece]) -> None:
    """Each is what lies there in the audio, and none overlaps the one before."""
    end = 0
    for piece in found:
        assert piece.start >= end
        end = piece.end
        np.testing.assert_array_equal(piece.samples, audio[piece.start : piece.end])
    assert end <= len(audio)


def same(one: Sequence[Cut], other: Sequence[Cut]) -> bool:
    def plain(cut: Cut) -> tuple[int, int]:
        return (cut.start, cut.end) if isinstance(cut, Piece) else (cut.start, -1)

    return [plain(cut) for cut in one] == [plain(cut) for cut in other]


loudnesses = st.lists(
    st.tuples(st.sampled_from((0.0, 0.004, 0.012, 0.3)), st.integers(1, 20_000)), min_size=1, max_size=12
)
chunkings = st.lists(st.integers(1, 40_000), min_size=1, max_size=6)
turnings = st.builds(
    TurnDetection,
    threshold=st.sampled_from((0.0, 0.3, 0.5, 1.0)),
    prefix_padding_ms=st.sampled_from((0, 33, 300, 5000)),
    silence_duration_ms=st.sampled_from((50, 77, 500, 10_000)),
)


def varied(stretches: Sequence[tuple[float, int]]) -> Samples:
    made = [np.random.default_rng(length).normal(0, loud, length) for loud, length in stretches]
    return np.concatenate(made).astype(np.float32)


@given(stretches=loudnesses, chunks=chunkings, turns=turnings, longest_s=st.sampled_from((0.5, 1.0, 2.3, 30.0)))
def test_utterances_do_not_depend_on_chunks(
    stretches: list[tuple[float, int]], chunks: list[int], turns: TurnDetection, longest_s: float
) -> None:
    audio = varied(stretches)
    cuts = cuts_of(by_level(longest_s, turns), audio, chunks)
    assert same(cuts, cuts_of(by_level(longest_s, turns), audio))
    check_slices(audio, pieces(cuts))
    assert all(len(piece.samples) <= longest_s * SAMPLE_RATE for piece in pieces(cuts))
    # Every utterance is announced, with its place, before it is there.
    assert len(cuts) == 2 * len(pieces(cuts))
    for began, piece in zip(cuts[::2], cuts[1::2], strict=True):
        assert isinstance(began, Began) and isinstance(piece, Piece) and began.start == piece.start


@given(stretches=loudnesses, longest_s=st.sampled_from((0.5, 1.0, 30.0)))
def test_no_detected_speech_is_lost(stretches: list[tuple[float, int]], longest_s: float) -> None:
    """But for clicks: fewer than three frames with nothing around them."""
    audio = varied(stretches)
    loud = np.nonzero(LevelDetector().feed(audio) >= TURNS.threshold)[0]
    covered = np.zeros(len(audio), bool)
    for piece in pieces(cuts_of(by_level(longest_s), audio)):
        covered[piece.start : piece.end] = True
    runs = np.split(loud, np.nonzero(np.diff(loud) > 1)[0] + 1)
    for run in runs:
        if len(run) >= 3:
            assert covered[run[0] * FRAME : (run[-1] + 1) * FRAME].all()


@given(stretches=loudnesses, chunks=chunkings, longest_s=st.sampled_from((0.5, 1.0, 2.3)))
def test_blocks_are_all_of_the_audio(stretches: list[tuple[float, int]], chunks: list[int], longest_s: float) -> None:
    audio = varied(stretches)
    cuts = cuts_of(BlockCutter(longest_s), audio, chunks)
    assert same(cuts, cuts_of(BlockCutter(longest_s), audio))
    np.testing.assert_array_equal(np.concatenate([piece.samples for piece in pieces(cuts)]), audio)
    for piece in pieces(cuts)[:-1]:
        assert 0.75 * longest_s <= len(piece.samples) / SAMPLE_RATE <= longest_s


@given(
    steps=st.lists(st.tuples(st.integers(0, 20_000), st.sampled_from(("feed", "commit", "clear"))), max_size=12),
    blocks=st.booleans(),
)
def test_commits_and_clears_at_any_time(steps: list[tuple[int, str]], blocks: bool) -> None:
    cutter: Cutter = BlockCutter(1.0) if blocks else by_level(1.0)
    audio = varied([(0.3 if order % 2 else 0.0, size) for order, (size, _) in enumerate(steps) if size] or [(0.0, 1)])
    found: list[Piece] = []
    at = 0
    for size, action in steps:
        found += pieces(cutter.feed(audio[at : at + size]))
        at += size
        if action == "commit":
            found += pieces(cutter.commit())
            assert cutter.open_since is None and not cutter.commit()
        elif action == "clear":
            cutter.clear()
            assert cutter.open_since is None and not cutter.finish()
    check_slices(audio, found)
    assert all(0 < len(piece.samples) <= SAMPLE_RATE for piece in found)


def test_an_utterance_has_its_padding_and_its_silence() -> None:
    audio = np.concatenate((silence(2), tones(["alpha", "bravo"]), silence(2), tones(["golf"]), silence(0.2)))
    first, second = pieces(cuts_of(by_level(), audio))
    assert first.start / SAMPLE_RATE == pytest.approx(2 - 0.3, abs=0.033)
    assert first.end / SAMPLE_RATE == pytest.approx(2 + 2 * WORD_S + 0.5, abs=0.033)
    assert second.start / SAMPLE_RATE == pytest.approx(4 + 2 * WORD_S - 0.3, abs=0.033)
    assert second.end == len(audio)


def test_padding_never_reaches_into_the_utterance_before() -> None:
    turns = TurnDetection(prefix_padding_ms=1000, silence_duration_ms=100)
    audio = np.concatenate((tones(["alpha"]), silence(0.3), tones(["bravo"]), silence(1)))
    first, second = pieces(cuts_of(by_level(turns=turns), audio))
    assert second.start == first.end


def test_a_pause_shorter_than_the_silence_that_ends_is_part_of_it() -> None:
    audio = np.concatenate((silence(1), tones(["alpha", "bravo"], between_s=0.4), silence(1)))
    assert len(pieces(cuts_of(by_level(), audio))) == 1


def test_what_is_quieter_than_it_began_is_still_speech() -> None:
    # -43 dBFS is 0.42: too quiet to begin, loud enough to go on.
    quiet = tones(["alpha"] * 4, loudness=0.01)
    audio = np.concatenate((silence(1), tones(["bravo"]), quiet, silence(1)))
    (piece,) = pieces(cuts_of(by_level(), audio))
    assert piece.end / SAMPLE_RATE == pytest.approx(1 + 5 * WORD_S + 0.5, abs=0.033)
    assert not cuts_of(by_level(), np.concatenate((silence(1), quiet, silence(1))))


def test_a_click_is_dropped_unless_it_is_committed() -> None:
    click = np.concatenate((silence(1), tones(["alpha"])[:FRAME], silence(1)))
    assert cuts_of(by_level(), click) == []
    cutter = by_level()
    assert cutter.feed(click) == []
    (piece,) = pieces(cutter.commit())
    np.testing.assert_array_equal(piece.samples, click)


def test_an_overlong_utterance_is_cut_in_its_pause_and_goes_on() -> None:
    audio = np.concatenate((tones(["alpha"] * 15), silence(0.2), tones(["bravo"] * 8), silence(1)))
    cuts = cuts_of(by_level(longest_s=4.0), audio)
    first, second = pieces(cuts)
    assert first.end == second.start
    assert 15 * WORD_S < first.end / SAMPLE_RATE < 15 * WORD_S + 0.2
    assert cuts[2] == Began(second.start)


def test_an_utterance_cut_in_its_last_silence_does_not_go_on() -> None:
    turns = TurnDetection(silence_duration_ms=3000)
    cuts = cuts_of(by_level(4.0, turns), np.concatenate((tones(["alpha"] * 14), silence(6))))
    (piece,) = pieces(cuts)
    assert len(cuts) == 2 and len(piece.samples) > 14 * WORD_S * SAMPLE_RATE


def test_a_commit_between_utterances_has_what_was_not_taken_for_speech() -> None:
    cutter = by_level(longest_s=5.0)
    quiet = tones(["alpha"] * 40, loudness=0.003)
    assert cutter.feed(quiet) == []
    (piece,) = pieces(cutter.commit())
    np.testing.assert_array_equal(piece.samples, quiet[-5 * SAMPLE_RATE :])


@pytest.mark.parametrize("turns", [TURNS, TurnDetection(silence_duration_ms=200)])
@pytest.mark.parametrize("name", ["beckett", "two_cities"])
def test_real_speech_is_found_where_it_is(turns: TurnDetection, name: str) -> None:
    recorded = speech(name)
    where = (5.0, 3.0)
    audio = np.concatenate((silence(where[0]), recorded, silence(where[1]), recorded, silence(2)))
    spoken = np.nonzero(SileroModel().detector().feed(recorded) > 0.5)[0] * FRAME / SAMPLE_RATE
    cutter = UtteranceCutter(SileroModel().detector(), turns, 30.0)
    found = pieces(cuts_of(cutter, audio, (1600,)))
    check_slices(audio, found)
    for offset in (where[0], sum(where) + len(recorded) / SAMPLE_RATE):
        mine = [p for p in found if offset - 0.5 <= p.start / SAMPLE_RATE < offset + len(recorded) / SAMPLE_RATE]
        padding_s = turns.prefix_padding_ms / 1000
        assert mine[0].start / SAMPLE_RATE + padding_s == pytest.approx(offset + spoken[0], abs=0.1)
        assert mine[-1].end / SAMPLE_RATE - turns.silence_duration_ms / 1000 >= offset + spoken[-1] - 0.1
        heard = np.zeros(len(audio), bool)
        for piece in mine:
            heard[piece.start : piece.end] = True
        lost = [at for at in spoken if not heard[round((offset + at) * SAMPLE_RATE)]]
        assert lost == []


@pytest.mark.parametrize("loud", [False, True])
@pytest.mark.parametrize("make", [lambda: BlockCutter(30.0), by_level])
@pytest.mark.parametrize("chunk", [80, 16_384])
def test_half_an_hour_is_cut_in_little_memory(make: MakeCutter, loud: bool, chunk: int) -> None:
    cutter = make()
    second = tones(["alpha"] * 4) if loud else silence(0.96)
    minutes = 30 if chunk > 80 else 2
    tracemalloc.start()
    try:
        heard = 0
        for _ in range(round(minutes * 60 / 0.96)):
            for at in range(0, len(second), chunk):
                heard += sum(len(cut.samples) for cut in cutter.feed(second[at : at + chunk]) if isinstance(cut, Piece))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One piece is 1.9 MB; its energy for the search of a pause, 64 bits each, is as much again.
    assert peak < 12e6
    assert len(cutter.tape) <= 30 * SAMPLE_RATE
    assert loud is False or heard > (minutes - 1) * 60 * SAMPLE_RATE


def test_a_tape_keeps_what_it_is_told_to() -> None:
    audio = np.arange(100_000, dtype=np.float32)
    tape = Tape(origin=7)
    for at in range(0, len(audio), 333):
        tape.append(audio[at : at + 333])
        tape.forget(tape.end - 20_000)
        np.testing.assert_array_equal(tape.read(tape.begin, tape.end), audio[tape.begin - 7 : tape.end - 7])
    assert len(tape) == 20_000
    tape.forget(10**9)
    assert (len(tape), tape.end) == (0, 100_007)
