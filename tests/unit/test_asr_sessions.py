"""Sessions without a socket: what a client is told of its audio."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from providers.asr.cutting import BlockCutter, Cutter
from providers.asr.live import LiveSession
from providers.asr.messages import (
    Clear,
    Cleared,
    Commit,
    Committed,
    Configure,
    Done,
    End,
    Event,
    Failed,
    Final,
    Heard,
    Partial,
    SpeechStarted,
    SpeechStopped,
    Start,
    TurnDetection,
)
from providers.asr.recognizer import SAMPLE_RATE, Asked, Samples, Segment
from providers.asr.session import FileSession
from providers.asr.text import joined
from providers.asr.utterances import UtteranceCutter
from providers.asr.voice import LevelDetector
from providers.errors import InvalidRequest
from providers.tiny.tones import WORD_S, WORDS, tones
from tests.support.asr_ear import Ear

TURNS = TurnDetection()
NOTHING_ASKED = Asked()
FRAME_S = 0.033


class Notes:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.has_gone = self.is_behind = False

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def gone(self) -> bool:
        return self.has_gone

    def behind(self) -> bool:
        return self.is_behind

    @property
    def kinds(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def partials(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Partial)]

    @property
    def finals(self) -> list[str]:
        return [joined(event.segments) for event in self.events if isinstance(event, Final)]

    @property
    def heard(self) -> list[Segment]:
        return [event.segment for event in self.events if isinstance(event, Heard)]

    @property
    def numbers(self) -> list[int]:
        return [event.utterance for event in self.events if isinstance(event, Committed)]


def live(ear: Ear, notes: Notes, turns: TurnDetection | None = TURNS, interval_s: float = 0.2) -> LiveSession:
    return LiveSession(ear, LevelDetector, Start(live=True, turns=turns), interval_s, notes)


def file(ear: Ear, notes: Notes, cutter: Cutter | None = None, asked: Asked = NOTHING_ASKED) -> FileSession:
    by_speech = UtteranceCutter(LevelDetector(), TURNS, ear.longest_piece_s)
    return FileSession(ear, cutter or by_speech, asked, notes)


def speak(session: LiveSession | FileSession, audio: Samples, chunk_s: float = 0.1) -> None:
    size = round(chunk_s * SAMPLE_RATE)
    for at in range(0, len(audio), size):
        session.feed(audio[at : at + size])


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def said(*words: str, after_s: float = 1.0, before_s: float = 1.0) -> Samples:
    return tones(words, before_s=before_s, after_s=after_s)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.mark.parametrize("piecemeal", [False, True])
def test_an_utterance_from_its_begin_to_its_text(notes: Notes, piecemeal: bool) -> None:
    session = live(Ear(piecemeal=piecemeal), notes)
    speak(session, said("alpha", "charlie", "hotel"))
    assert [kind for kind in notes.kinds if kind != "partial"] == [
        "speech_started",
        "speech_stopped",
        "committed",
        "final",
    ]
    started, committed, final = notes.events[0], notes.events[-2], notes.events[-1]
    assert isinstance(started, SpeechStarted) and started.at_s == pytest.approx(0.7, abs=FRAME_S)
    assert isinstance(committed, Committed) and committed.start_s == started.at_s
    assert committed.end_s == pytest.approx(1 + 3 * WORD_S + 0.5, abs=FRAME_S)
    assert isinstance(final, Final) and joined(final.segments) == "alpha charlie hotel"
    words = final.segments[0].words
    for order, word in enumerate(words):
        assert word.start_s == pytest.approx(1 + order * WORD_S, abs=0.02)
    assert notes.partials and all("alpha charlie hotel".startswith(text) for text in notes.partials)


@pytest.mark.parametrize("piecemeal", [False, True])
@pytest.mark.parametrize("word", WORDS)
def test_the_first_word_is_whole(notes: Notes, piecemeal: bool, word: str) -> None:
    for offset in range(0, 512, 64):
        speak(live(Ear(piecemeal=piecemeal), notes), np.concatenate((np.zeros(offset, np.float32), said(word, "echo"))))
    assert notes.finals == [f"{word} echo"] * 8


@pytest.mark.parametrize("piecemeal", [False, True])
def test_utterances_are_counted_and_know_the_text_before(notes: Notes, piecemeal: bool) -> None:
    ear = Ear(piecemeal=piecemeal)
    session = live(ear, notes)
    for word in ("alpha", "bravo", "charlie"):
        speak(session, said(word))
    assert notes.finals == ["alpha", "bravo", "charlie"] and notes.numbers == [0, 1, 2]
    assert ear.asked[-1].previous == "bravo" and ear.asked[0].previous == ""
    assert all(utterance.closed for utterance in ear.utterances) and not ear.iterators_open


def test_partials_leave_out_when_more_audio_waits(notes: Notes) -> None:
    notes.is_behind = True
    session = live(Ear(), notes)
    speak(session, said("alpha", "bravo"))
    assert notes.partials == [] and notes.finals == ["alpha bravo"]


@pytest.mark.parametrize("piecemeal", [False, True])
def test_a_text_that_stays_is_confirmed_once(notes: Notes, piecemeal: bool) -> None:
    """Who shows only what two guesses agree on would else wait for the next word."""
    session = live(Ear(piecemeal=piecemeal), notes, TurnDetection(silence_duration_ms=2000), interval_s=0.1)
    speak(session, said("alpha", "bravo", after_s=1.9))
    assert notes.finals == [] and notes.partials[-2:] == ["alpha bravo", "alpha bravo"]
    assert notes.partials.count("alpha bravo") == 2


@pytest.mark.parametrize(("interval_s", "most"), [(0.2, 12), (1.0, 3), (60.0, 0)])
def test_partials_are_as_far_apart_as_configured(notes: Notes, interval_s: float, most: int) -> None:
    ear = Ear()
    session = live(ear, notes, interval_s=interval_s)
    speak(session, said(*WORDS), 0.01)
    assert len(ear.pieces) - 1 <= most and len(notes.partials) <= most
    assert notes.finals == [" ".join(WORDS)]


@pytest.mark.parametrize("chunk_s", [0.01, 0.32, 1.024])
@pytest.mark.parametrize("piecemeal", [False, True])
def test_chunks_of_any_size_are_heard_alike(notes: Notes, chunk_s: float, piecemeal: bool) -> None:
    audio = np.concatenate([said(*WORDS[at:], after_s=0.7) for at in range(4)])
    session = live(Ear(longest_piece_s=2.5, piecemeal=piecemeal), notes)
    speak(session, audio, chunk_s)
    whole = Notes()
    speak(live(Ear(longest_piece_s=2.5), whole), audio, 60)
    assert notes.finals == whole.finals and len(notes.finals) == 4


@pytest.mark.parametrize("piecemeal", [False, True])
def test_one_who_never_pauses_is_cut_and_heard_whole(notes: Notes, piecemeal: bool) -> None:
    ear = Ear(longest_piece_s=3.0, piecemeal=piecemeal)
    session = live(ear, notes)
    spoken = [WORDS[order % 8] for order in range(40)]
    # Pauses too short to end an utterance, but long enough for a cut.
    speak(session, tones(spoken, before_s=1, between_s=0.15, after_s=1))
    assert " ".join(notes.finals) == " ".join(spoken)
    assert notes.numbers == list(range(len(notes.finals))) and len(notes.finals) >= 5
    started = [event.utterance for event in notes.events if isinstance(event, SpeechStarted)]
    stopped = [event.utterance for event in notes.events if isinstance(event, SpeechStopped)]
    assert started == stopped == notes.numbers
    assert all(utterance.closed for utterance in ear.utterances)


def test_a_commit_ends_an_utterance_in_mid_word(notes: Notes) -> None:
    session = live(Ear(), notes)
    # Half of the second word is one, and so is its other half.
    speak(session, said("alpha", "bravo", after_s=0)[: -round(WORD_S / 2 * SAMPLE_RATE)])
    session.obey(Commit())
    assert notes.finals == ["alpha bravo"]
    speak(session, said("bravo", "golf", before_s=0)[round(WORD_S / 2 * SAMPLE_RATE) :])
    assert notes.finals == ["alpha bravo", "bravo golf"]
    ends = [event for event in notes.events if isinstance(event, Committed)]
    assert ends[0].end_s == ends[1].start_s


def test_a_commit_takes_what_was_not_detected(notes: Notes) -> None:
    session = live(Ear(), notes)
    speak(session, tones(["delta"], before_s=1, after_s=0)[: round(1.08 * SAMPLE_RATE)])
    assert notes.events == []
    session.obey(Commit())
    assert notes.kinds == ["committed", "final"] and notes.finals == ["delta"]


@pytest.mark.parametrize("turns", [TURNS, None])
def test_a_commit_of_nothing_is_an_empty_utterance(notes: Notes, turns: TurnDetection | None) -> None:
    ear = Ear()
    session = live(ear, notes, turns)
    session.obey(Commit())
    session.obey(Commit())
    assert notes.finals == ["", ""] and notes.numbers == [0, 1] and ear.pieces == []


@pytest.mark.parametrize("piecemeal", [False, True])
def test_without_detection_a_commit_alone_ends_an_utterance(notes: Notes, piecemeal: bool) -> None:
    session = live(Ear(piecemeal=piecemeal), notes, turns=None)
    speak(session, said("alpha", "bravo", after_s=2))
    assert notes.events == []
    session.obey(Commit())
    assert notes.kinds == ["committed", "final"] and notes.finals == ["alpha bravo"]
    speak(session, said("charlie"))
    session.obey(Commit())
    assert notes.finals == ["alpha bravo", "charlie"] and notes.numbers == [0, 1]


def test_without_detection_and_commit_it_is_cut_when_it_is_too_long(notes: Notes) -> None:
    session = live(Ear(longest_piece_s=2.0), notes, turns=None)
    spoken = [WORDS[order % 8] for order in range(20)]
    speak(session, tones(spoken, between_s=0.15))
    assert len(notes.finals) >= 2
    session.obey(Commit())
    assert " ".join(notes.finals) == " ".join(spoken)


@pytest.mark.parametrize("piecemeal", [False, True])
def test_what_is_cleared_is_never_heard(notes: Notes, piecemeal: bool) -> None:
    ear = Ear(piecemeal=piecemeal)
    session = live(ear, notes)
    speak(session, said("alpha", "bravo", after_s=0))
    session.obey(Clear())
    speak(session, said("charlie"))
    assert notes.finals == ["charlie"]
    # The number of the one that was announced is not used again.
    assert notes.numbers == [1] and notes.events[-1] != Cleared() and Cleared() in notes.events
    assert all(utterance.closed for utterance in ear.utterances)


def test_a_new_configuration_is_for_the_next_utterance(notes: Notes) -> None:
    ear = Ear()
    session = live(ear, notes, interval_s=60)
    speak(session, said("alpha", after_s=0))
    session.obey(Configure(asked=Asked(language="de"), turns=TurnDetection(silence_duration_ms=100)))
    speak(session, said("bravo", before_s=0.3))
    assert notes.finals == ["alpha bravo"] and ear.asked[-1].language is None
    speak(session, said("charlie", after_s=0.2))
    assert notes.finals[-1] == "charlie" and ear.asked[-1].language == "de"


def test_detection_can_be_switched_off_and_on(notes: Notes) -> None:
    session = live(Ear(), notes)
    speak(session, said("alpha"))
    session.obey(Configure(turns=None))
    speak(session, said("bravo"))
    speak(session, said("charlie"))
    assert notes.finals == ["alpha"]
    session.obey(Configure(turns=TURNS))
    assert notes.finals == ["alpha", "bravo", "charlie"], "what waited is cut by detected speech"
    speak(session, said("delta"))
    assert notes.finals[-1] == "delta"
    ends = [event for event in notes.events if isinstance(event, Committed)]
    assert ends[-1].end_s == pytest.approx(3 * (2 + WORD_S) + 1 + WORD_S + 0.5, abs=FRAME_S)


def test_switched_off_in_an_utterance_it_ends_first(notes: Notes) -> None:
    session = live(Ear(), notes)
    speak(session, said("alpha", after_s=0))
    session.obey(Configure(turns=None))
    speak(session, silence(3))
    assert notes.finals == ["alpha"]
    speak(session, said("bravo"))
    assert notes.finals == ["alpha"]
    session.obey(Commit())
    assert notes.finals == ["alpha", "bravo"]


@pytest.mark.parametrize("piecemeal", [False, True])
def test_an_utterance_that_fails_is_told_and_the_session_lives_on(notes: Notes, piecemeal: bool) -> None:
    ear = Ear(piecemeal=piecemeal, fails_on="golf")
    session = live(ear, notes)
    for word in ("alpha", "golf", "bravo"):
        speak(session, said(word))
    failed = [event for event in notes.events if isinstance(event, Failed)]
    assert [(one.utterance, one.status) for one in failed] == [(1, 500)]
    assert "broke at golf" in failed[0].message and "Traceback" not in failed[0].message
    assert notes.finals == ["alpha", "bravo"] and not ear.iterators_open
    assert all(utterance.closed for utterance in ear.utterances)


def test_a_clients_mistake_keeps_its_name(notes: Notes) -> None:
    ear = Ear()
    ear.refuses = "golf"
    speak(live(ear, notes), said("golf"))
    assert notes.events[-1] == Failed(
        message="Nobody says this.", status=400, code="unspeakable", param="language", utterance=0
    )


@pytest.mark.parametrize("request_", [Start(live=True), End()])
def test_what_makes_no_sense_live_is_refused(notes: Notes, request_: Start | End) -> None:
    session = live(Ear(), notes)
    with pytest.raises(InvalidRequest, match=request_.type):
        session.obey(request_)


@pytest.mark.parametrize("request_", [Start(), Commit(), Clear(), Configure()])
def test_what_makes_no_sense_of_a_file_is_refused(notes: Notes, request_: Start | Commit | Clear | Configure) -> None:
    with pytest.raises(InvalidRequest, match=request_.type):
        file(Ear(), notes).obey(request_)


@pytest.mark.parametrize("blocks", [False, True])
def test_a_files_segments_are_told_with_their_times(notes: Notes, blocks: bool) -> None:
    ear = Ear(longest_piece_s=4.0)
    session = file(ear, notes, BlockCutter(4.0) if blocks else None)
    starts: list[float] = []
    audio = silence(0)
    for word in WORDS[:7]:
        starts.append(len(audio) / SAMPLE_RATE + 1)
        audio = np.concatenate((audio, said(word)))
    speak(session, audio, 1.0)
    assert len(notes.heard) >= 5, "heard before its end"
    session.obey(End())
    assert session.over
    assert [segment.text for segment in notes.heard] == list(WORDS[:7])
    for segment, start_s in zip(notes.heard, starts, strict=True):
        assert segment.start_s == pytest.approx(start_s, abs=0.02)
        assert segment.words[0].start_s == segment.start_s
    done = notes.events[-1]
    assert isinstance(done, Done) and done.duration_s == pytest.approx(len(audio) / SAMPLE_RATE)
    assert ear.asked[-1].previous != "" and all(len(asked.previous) <= 200 for asked in ear.asked)


def test_a_files_language_is_that_of_most_speech(notes: Notes) -> None:
    session = file(Ear(), notes)
    speak(session, np.concatenate((said("hotel"), said("alpha", "alpha"), said("hotel"), said("bravo"))))
    session.obey(End())
    done = notes.events[-1]
    assert isinstance(done, Done) and done.language == "en" and done.language_probability == pytest.approx(0.8)


@pytest.mark.parametrize("samples", [0, 100, 3 * SAMPLE_RATE])
def test_a_file_of_nothing_is_done(notes: Notes, samples: int) -> None:
    session = file(Ear(), notes, asked=Asked(language="fr"))
    session.feed(np.zeros(samples, np.float32))
    session.obey(End())
    assert notes.events == [Done(duration_s=samples / SAMPLE_RATE, language="fr")]


def test_nobody_listens_nothing_more_is_computed() -> None:
    class Leaver(Notes):
        def tell(self, event: Event) -> None:
            super().tell(event)
            self.has_gone = True

    leaver, ear = Leaver(), Ear(cuts_itself=True, longest_piece_s=10.0)
    session = file(ear, leaver, BlockCutter(10.0))
    speak(session, tones(["alpha"] * 30, between_s=1.0), 60)
    assert len(leaver.heard) == 1 and len(ear.pieces) == 1 and not ear.iterators_open


@pytest.mark.parametrize(
    ("texts", "language", "whole"),
    [
        ((" Hello", " world. "), None, "Hello world."),
        (("你好", "世界"), "zh", "你好世界"),
        (("", "a", " "), "en", "a"),
        ((), None, ""),
    ],
)
def test_texts_are_joined_as_their_language_does(texts: Sequence[str], language: str | None, whole: str) -> None:
    assert joined(Segment(text, 0, 1, language=language) for text in texts) == whole


@pytest.mark.parametrize("ends_s", [2.0, 99.0])
def test_times_beyond_the_audio_are_brought_back(notes: Notes, ends_s: float) -> None:
    class Dreamer(Ear):
        def recognize(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
            yield Segment("alpha", -1.0, ends_s)

    session = file(Dreamer(), notes, BlockCutter(10.0))
    session.feed(silence(1.5))
    session.obey(End())
    assert (notes.heard[0].start_s, notes.heard[0].end_s) == (0.0, 1.5)
