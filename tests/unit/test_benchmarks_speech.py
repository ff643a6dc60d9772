"""The speech benchmark's own arithmetic, words and files. Nothing here is timed, and nothing is recognized."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load import LoadError
from benchmarks.report import Measurement, as_record
from benchmarks.servers import HAPROXY, PLAIN
from benchmarks.speech_cases import AIMS, CASES, METRICS, Measure, figures
from benchmarks.speech_client import BOUNDARY, form, session, shown_by
from benchmarks.speech_direct import JOB, FileJob, LiveJob, Witness, decoded
from benchmarks.speech_live import SILENCE_S, LiveRun, Shown, latencies, sent_s
from benchmarks.speech_memory import Resident, resident_of
from benchmarks.speech_report import Guessed, Weighed, markdown, write
from benchmarks.speech_runs import Effort, Runs, Work, repeat
from benchmarks.speech_sounds import Sounds, Utterance, conversation, make_sounds, pcm_of, samples_of
from providers.asr.messages import Committed, Failed, Final, Partial
from providers.asr.recognizer import SAMPLE_RATE, Segment
from providers.tiny.tones import WORD_S
from serve_app.audio.form import FormReader
from serve_app.audio.realtime_client import Update, event_of
from serve_app.audio.realtime_settings import Settings

LONG_S = 7.5
ONE = Utterance(("alpha", "bravo"), start_s=0.5, pause_s=1.0)
CHUNKS = tuple(float(order) for order in range(30))
"""Each is sent a second after the one before, so that positions and times cannot be mixed up."""


def shown(at_s: float, kind: str, text: str = "", utterance: str = "a") -> Shown:
    return Shown.model_validate({"at_s": at_s, "kind": kind, "text": text, "utterance": utterance})


def run(*events: Shown) -> LiveRun:
    return LiveRun(sent_s=CHUNKS, shown=events)


def end_of(events: tuple[Shown, ...] = (), text: str = "alpha bravo") -> tuple[Shown, ...]:
    return (*events, shown(20.0, "committed"), shown(21.0, "completed", text))


def test_utterances_follow_each_other_and_are_the_same_each_time() -> None:
    said = tuple(conversation(60.0, seed=3))
    assert said == tuple(conversation(60.0, seed=3)) != tuple(conversation(60.0, seed=4))
    assert len(said) > 5 and said[-1].end_s <= 60.0
    for one, following in pairwise(said):
        assert following.start_s == pytest.approx(one.end_s, abs=1e-3)
        assert one.end_s - one.word_ends_s[-1] == pytest.approx(one.pause_s)


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 24_000])
def test_words_are_where_an_utterance_says(rate: int) -> None:
    samples = samples_of((ONE,), 3.0, rate)
    assert len(samples) == 3 * rate
    loud = np.flatnonzero(samples)
    assert loud[0] / rate == pytest.approx(ONE.start_s, abs=0.001)
    assert loud[-1] / rate == pytest.approx(ONE.word_ends_s[-1], abs=0.001)
    between = samples[round(ONE.word_ends_s[0] * rate) : round((ONE.word_ends_s[1] - WORD_S) * rate)]
    assert len(between) and not between.any()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    return make_sounds(tmp_path_factory.mktemp("sounds"), LONG_S)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("short", 3.0), ("long_wav", LONG_S), ("long_mp3", LONG_S), ("long_speech", LONG_S)],
)
def test_files_are_as_long_as_they_are_said_to_be(sounds: Sounds, name: str, seconds: float) -> None:
    pieces = list(decoded(getattr(sounds, name)))
    assert sum(map(len, pieces)) / SAMPLE_RATE == pytest.approx(seconds, abs=0.1)


def test_both_long_files_of_tones_sound_alike(sounds: Sounds) -> None:
    wav, mp3 = (np.concatenate(list(decoded(path))) for path in (sounds.long_wav, sounds.long_mp3))
    size = min(len(wav), len(mp3))
    assert np.corrcoef(np.abs(wav[:size]), np.abs(mp3[:size]))[0, 1] > 0.5
    assert sounds.long_mp3.stat().st_size < sounds.long_wav.stat().st_size / 2


@pytest.mark.parametrize(("position_s", "chunk"), [(0.0, 0), (0.05, 0), (0.1, 0), (0.101, 1), (0.3, 2), (1.0, 9)])
def test_a_position_is_sent_with_the_chunk_that_has_it(position_s: float, chunk: int) -> None:
    assert sent_s(position_s, run()) == chunk


def test_a_word_is_shown_by_the_delta_that_has_it() -> None:
    first, last = (sent_s(end_s, run()) for end_s in ONE.word_ends_s)
    events = (
        shown(first - 1, "guess", "alpha"),
        shown(first + 2, "guess", "alpha bravo"),
        shown(first + 2, "delta", "alpha"),
        shown(last + 3, "delta", " bravo"),
    )
    found = latencies((ONE,), run(*end_of(events)))
    assert found.words == pytest.approx((2000.0, 3000.0))
    assert found.guesses == pytest.approx((-1000.0, 2000.0 + (first - last) * 1000))
    assert found.finals == pytest.approx(((21.0 - last - SILENCE_S) * 1000,))
    assert found.medians() == pytest.approx(
        {"word": 2500.0, "final": found.finals[0], "guess": found.medians()["guess"]}
    )


def test_a_word_that_comes_with_the_end_is_no_partial() -> None:
    first, _ = (sent_s(end_s, run()) for end_s in ONE.word_ends_s)
    events = (*end_of((shown(first + 1, "delta", "alpha"),))[:-1], shown(20.5, "delta", " bravo"))
    found = latencies((ONE,), run(*events, shown(21.0, "completed", "alpha bravo")))
    assert found.words == pytest.approx((1000.0,))
    assert "guess" not in found.medians()


@pytest.mark.parametrize("text", ["alpha", "alpha bravo bravo", ""])
def test_something_else_heard_is_no_figure(text: str) -> None:
    with pytest.raises(LoadError, match="said was"):
        latencies((ONE,), run(*end_of((shown(1.0, "delta", "alpha"),), text)))


def test_a_session_that_shows_nothing_before_the_end_is_no_figure() -> None:
    with pytest.raises(LoadError, match="no word"):
        latencies((ONE,), run(*end_of()))


def test_utterances_are_kept_apart() -> None:
    other = Utterance(("echo",), start_s=2.0, pause_s=0.5)
    spoken = sent_s(other.word_ends_s[0], run())
    events = (
        *end_of((shown(9.0, "delta", "alpha bravo"),)),
        shown(spoken + 1, "delta", "echo", "b"),
        shown(28.0, "committed", utterance="b"),
        shown(28.5, "completed", "echo", "b"),
    )
    found = latencies((ONE, other), run(*events))
    assert found.words[-1] == pytest.approx(1000.0) and len(found.words) == 3 and len(found.finals) == 2


def test_the_library_shows_words_as_hal0_does() -> None:
    witness = Witness()
    for text in ("alpha", "alpha brave", "alpha bravo echo"):
        witness.tell(Partial(utterance=0, text=text))
    witness.tell(Committed(utterance=0, start_s=0, end_s=1))
    witness.tell(Final(utterance=0, segments=(Segment("alpha bravo", 0, 0.5), Segment("echo", 0.5, 1))))
    told = [(one.kind, one.text) for one in witness.shown if one.kind != "guess"]
    assert told == [("delta", "alpha"), ("committed", ""), ("delta", " bravo echo"), ("completed", "alpha bravo echo")]
    with pytest.raises(RuntimeError, match="out of memory"):
        witness.tell(Failed(message="out of memory", utterance=0))


def test_server_events_are_read_as_openai_names_them() -> None:
    name = "conversation.item.input_audio_transcription"
    assert shown_by({"type": f"{name}.delta", "item_id": "i", "delta": " a"}, 1.0) == shown(1.0, "delta", " a", "i")
    completed = {"type": f"{name}.completed", "item_id": "i", "transcript": "a b"}
    assert shown_by(completed, 2.0) == shown(2.0, "completed", "a b", "i")
    committed = {"type": "input_audio_buffer.committed", "item_id": "i"}
    assert shown_by(committed, 3.0) == shown(3.0, "committed", "", "i")
    assert shown_by({"type": "input_audio_buffer.speech_started", "item_id": "i"}, 4.0) is None


def test_hal0_understands_what_the_client_sends(tmp_path: Path) -> None:
    (path := tmp_path / "short.wav").write_bytes(b"\r\n--sound\0")
    reader = FormReader(BOUNDARY.encode())
    assert reader.feed(form("whisper", path)) == path.read_bytes()
    reader.finish()
    assert list(reader.fields) == [("model", "whisper")]
    event = event_of({"type": "session.update", "session": session("ears", 24_000)})  # type: ignore[dict-item]
    assert isinstance(event, Update)
    settings = event.change(Settings())
    assert (settings.model, settings.format.rate) == ("ears", 24_000)
    assert settings.turns is not None and settings.turns.silence_duration_ms == SILENCE_S * 1000


def clients_of(work: Work, closed: list[bool]) -> Callable[[], AbstractContextManager[Work]]:
    @contextmanager
    def client() -> Iterator[Work]:
        try:
            yield work
        finally:
            closed.append(True)

    return client


def test_every_client_works_as_often_as_asked() -> None:
    closed: list[bool] = []
    threads = set()

    def work() -> str:
        threads.add(threading.get_ident())
        barrier.wait(10)
        return "heard"

    barrier = threading.Barrier(3)  # all at once, or never
    runs = repeat(clients_of(work, closed), Effort(clients=3, least=4))
    assert (len(runs.times_s), runs.text, len(threads), len(closed)) == (12, "heard", 3, 3)
    assert runs.seconds >= max(runs.times_s)


def test_one_file_heard_in_two_ways_is_no_figure() -> None:
    answers = iter(("alpha", "bravo"))
    closed: list[bool] = []
    with pytest.raises(LoadError, match="2 ways"):
        repeat(clients_of(lambda: next(answers), closed), Effort(least=2))
    assert closed == [True]


def test_what_fails_in_a_client_is_raised_and_its_connection_closed() -> None:
    def work() -> str:
        raise LoadError("answered 500")

    closed: list[bool] = []
    with pytest.raises(LoadError, match="500"):
        repeat(clients_of(work, closed), Effort(clients=2))
    assert closed == [True, True]


@pytest.mark.parametrize(
    ("measure", "expected"),
    [(Measure.ADDED, {"median": 200.0}), (Measure.SPEED, {"speed": 50.0}), (Measure.RATE, {"rate": 6.0})],
)
def test_figures_of_files(measure: Measure, expected: dict[str, float]) -> None:
    runs = Runs(times_s=(0.1, 0.2, 0.9), seconds=0.5, text="heard")
    assert figures(measure, runs, audio_s=10.0) == pytest.approx(expected)
    assert set(expected) == set(METRICS[measure])


def test_jobs_reach_the_library_as_they_were_sent() -> None:
    for job in (FileJob(path=Path("a.wav"), effort=Effort(clients=2, seconds=0.5)), LiveJob(path=Path("a.pcm"))):
        assert JOB.validate_json(job.model_dump_json()) == job


def test_memory_is_read_from_what_linux_says() -> None:
    status = "Name:\tpython\nVmPeak:\t  9999 kB\nVmHWM:\t  3072 kB\nVmRSS:\t  1024 kB\nRssAnon:\t   512 kB\n"
    assert resident_of(status) == Resident(now=1.0, most=3.0)


def test_every_aim_belongs_to_something_measured() -> None:
    measured = {(case.name, case.clients, metric) for case in CASES for metric in METRICS[case.measure]}
    assert set(AIMS) <= measured and len({case.name for case in CASES}) == len(CASES)
    fields = set(Sounds.__dataclass_fields__)
    assert all(case.sound in fields for case in CASES if case.measure is not Measure.LIVE)


def speed(path: str, *ours: float) -> Measurement:
    case = next(case for case in CASES if case.measure is Measure.SPEED)
    unit, comparison = METRICS[case.measure]["speed"]
    bare = (100.0,) * len(ours)
    return Measurement(case.name, case.title, 1, "speed", unit, comparison, path, bare, ours)


RECORD = {"date": "2026-01-01", "quick": True, "rounds": 2, "live_rounds": 1, "long_s": 60.0, "machine": {"cores": 2}}
WEIGHED = [Weighed(process="ingress", side=PLAIN, moment="idle", resident=Resident(now=179.4, most=200.0))]
GUESSED = [Guessed(case="Live", guess=104.4, agreed=406.0)]


def test_tables() -> None:
    lines = markdown(RECORD, [speed(PLAIN, 80.0, 85.0), speed(HAPROXY, 95.0)], WEIGHED, GUESSED).splitlines()
    title = f"{speed(PLAIN, 1.0).title}, speed, times real time"
    aim = f"{PLAIN} ≥ 0.9; {HAPROXY} ≥ 0.9"
    cells = ("**0.82** (0.80 to 0.85), missed", "**0.95** (0.95 to 0.95), met")
    assert f"| {title} | 1 | {cells[0]} | {cells[1]} | {aim} |" in lines
    assert f"| {title} | 1 | 82.5 (80.0 to 85.0) | 95.0 (95.0 to 95.0) | 100 (100 to 100) |" in lines
    assert f"| ingress | {PLAIN} | idle | 179 | 200 |" in lines
    assert "| Live | 104 ms | 406 ms |" in lines


def test_an_aim_between_the_rounds_is_undecided() -> None:
    text = markdown(RECORD, [speed(PLAIN, 80.0, 92.0, 95.0)], [], [])
    assert "**0.92** (0.80 to 0.95), undecided" in text


def test_results_are_written_as_json_and_as_tables(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORD, [speed(PLAIN, 80.0)], WEIGHED, [])
    record = json.loads((tmp_path / "out" / "speech.json").read_text())
    assert record["measurements"] == [json.loads(json.dumps(as_record(speed(PLAIN, 80.0), AIMS)))]
    assert (record["measurements"][0]["verdict"], record["memory"][0]["resident"]["most"]) == ("missed", 200.0)
    text = (tmp_path / "out" / "speech.md").read_text()
    assert text == markdown(RECORD, [speed(PLAIN, 80.0)], WEIGHED, [])
    assert "Two guesses agree" not in text


def test_pcm_is_little_endian_and_full_scale_at_most() -> None:
    assert pcm_of(np.array([0, 1, -1], np.float32)) == b"\0\0\xff\x7f\x01\x80"
