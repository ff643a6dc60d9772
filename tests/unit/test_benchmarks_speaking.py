"""The speaking benchmark's own arithmetic, words and requests. Nothing here is timed, and no model speaks."""

import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.load import Address, LoadError
from benchmarks.report import Measurement, as_record
from benchmarks.servers import HAPROXY, PLAIN
from benchmarks.speaking_cases import (
    AIMS,
    CASES,
    LONG,
    METRICS,
    PATHS,
    SHORT,
    SLOT,
    TWO,
    VOICE,
    Case,
    Measure,
    check_alike,
    figure,
    job,
    make_slot,
)
from benchmarks.speaking_client import PATH, request_of, speak
from benchmarks.speaking_report import added_ms, markdown, write
from benchmarks.speaking_runs import Speak, Spoken, spoken
from benchmarks.speech_runs import Effort
from providers.kokoro.options import KokoroSlot
from providers.tts.sentences import sentences
from serve_app.audio.encode import Format
from serve_app.audio.speech_request import Answering

SPEED = next(case for case in CASES if case.measure is Measure.SPEED)


def answer(size: int) -> Spoken:
    return Spoken(first_s=(0.01, 0.02, 0.09), times_s=(0.1, 0.2, 0.9), seconds=0.5, size=size)


def client_of(speak: Speak, closed: list[bool]) -> Callable[[], AbstractContextManager[Speak]]:
    @contextmanager
    def client() -> Iterator[Speak]:
        try:
            yield speak
        finally:
            closed.append(True)

    return client


def test_every_answer_has_a_first_and_a_last_byte() -> None:
    closed: list[bool] = []
    begun = threading.Barrier(3)  # all at once, or never

    def speech() -> Iterator[bytes]:
        begun.wait(10)
        yield from (b"", b"ab", b"cde", b"")

    found = spoken(client_of(speech, closed), Effort(clients=3, least=4))
    assert (len(found.first_s), len(found.times_s), found.size, len(closed)) == (12, 12, 5, 3)
    assert 0 < max(found.first_s) <= max(found.times_s) <= found.seconds


def test_the_first_byte_does_not_wait_for_the_last() -> None:
    def speech() -> Iterator[bytes]:
        yield b"a"
        time.sleep(0.02)
        yield b"b"

    found = spoken(client_of(speech, []), Effort())
    assert found.times_s[0] - found.first_s[0] >= 0.02


@pytest.mark.parametrize("pieces", [(), (b"",), (b"", b"")])
def test_silence_is_no_figure(pieces: tuple[bytes, ...]) -> None:
    closed: list[bool] = []
    with pytest.raises(LoadError, match="nothing was spoken"):
        spoken(client_of(lambda: iter(pieces), closed), Effort(clients=2))
    assert closed == [True, True]


def test_a_text_spoken_in_two_ways_is_no_figure() -> None:
    answers = iter(((b"ab",), (b"abc",)))
    with pytest.raises(LoadError, match="2 ways"):
        spoken(client_of(lambda: iter(next(answers)), []), Effort(least=2))


@pytest.mark.parametrize(("bare", "ours"), [(100, 70), (70, 100), (100, 1000)])
def test_sides_that_speak_something_else_are_no_figure(bare: int, ours: int) -> None:
    with pytest.raises(LoadError, match=f"{bare} bytes .* {ours}"):
        check_alike(SPEED, answer(bare), answer(ours))


@pytest.mark.parametrize(("bare", "ours"), [(100, 100), (100, 81), (81, 100)])
def test_sides_may_differ_by_their_silence(bare: int, ours: int) -> None:
    check_alike(SPEED, answer(bare), answer(ours))


@pytest.mark.parametrize(("measure", "expected"), [(Measure.FIRST, 20.0), (Measure.SPEED, 50.0), (Measure.RATE, 6.0)])
def test_figures(measure: Measure, expected: float) -> None:
    assert figure(measure, answer(4), speech_s=10.0) == pytest.approx(expected)


def test_texts_are_what_their_titles_say() -> None:
    assert [len(sentences(text, 250)) for text in (SHORT, TWO)] == [1, 2]
    assert 190 <= len(LONG.split()) <= 210


def test_every_aim_belongs_to_something_measured() -> None:
    assert set(AIMS) <= {(case.name, case.clients, METRICS[case.measure][0]) for case in CASES}
    assert len({case.name for case in CASES}) == len(CASES)
    assert {path for bounds in AIMS.values() for path in bounds} == set(PATHS)
    assert {METRICS[measure][0] for measure in Measure} == {"first byte", "speed", "rate"}


def test_hal0_and_the_library_are_given_the_same(tmp_path: Path) -> None:
    slot = KokoroSlot.model_validate(make_slot(tmp_path / "models"))
    assert (slot.name, slot.options.threads) == (SLOT, 1)
    case = Case("a", "A", Measure.SPEED, TWO, Format.OPUS, at_once=True)
    request = json.loads(request_of(SLOT, VOICE, case.text, case.format))
    asked = job(case, Effort(clients=2))
    assert (asked.text, asked.voice, asked.format) == (request["input"], request["voice"], Answering.of(request).format)
    assert pickle.loads(pickle.dumps(asked)) == asked  # the way to the library's process


class Answers(BaseHTTPRequestHandler):
    """Speaks what `pieces` say, each in a chunk, and notes what it was asked."""

    protocol_version = "HTTP/1.1"
    pieces: tuple[bytes, ...] = (b"ab", b"cde")
    status = 200
    asked: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        self.asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (*self.pieces, b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def log_message(self, format: str, *args: object) -> None:
        """Not to the terminal."""


@contextmanager
def served(answers: type[Answers]) -> Iterator[Address]:
    answers.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Address("127.0.0.1", server.server_port, "")
        finally:
            server.shutdown()
            thread.join(10)


def test_the_client_reads_each_answer_to_its_end() -> None:
    request = request_of(SLOT, VOICE, SHORT, Format.PCM)
    with served(Answers) as address:
        found = speak(address, request, Effort(clients=2, least=3))
    assert (found.size, len(found.times_s), len(found.first_s)) == (5, 6, 6)
    assert Answers.asked == [(PATH, request)] * 6


def test_a_refusal_is_no_figure() -> None:
    class Refuses(Answers):
        status, pieces = 503, (b"overloaded",)

    with served(Refuses) as address, pytest.raises(LoadError, match="503.*overloaded"):
        speak(address, b"{}", Effort())


def speed(path: str, *ours: float) -> Measurement:
    metric, unit, comparison = METRICS[SPEED.measure]
    bare = (100.0,) * len(ours)
    return Measurement(SPEED.name, SPEED.title, 1, metric, unit, comparison, path, bare, ours)


RECORD = {"date": "2026-01-01", "quick": True, "rounds": 2, "machine": {"cores": 2}}


def test_tables() -> None:
    lines = markdown(RECORD, [speed(PLAIN, 80.0, 85.0), speed(HAPROXY, 95.0)]).splitlines()
    title = f"{SPEED.title}, speed, times real time"
    aim = f"{PLAIN} ≥ 0.9; {HAPROXY} ≥ 0.9"
    cells = ("**0.82** (0.80 to 0.85), missed", "**0.95** (0.95 to 0.95), met")
    assert f"| {title} | 1 | {cells[0]} | {cells[1]} | {aim} |" in lines
    assert f"| {title} | 1 | 82.5 (80.0 to 85.0) | 95.0 (95.0 to 95.0) | 100 (100 to 100) |" in lines


def test_an_aim_between_the_rounds_is_undecided() -> None:
    text = markdown(RECORD, [speed(PLAIN, 80.0, 92.0, 95.0)])
    assert "**0.92** (0.80 to 0.95), undecided" in text


def test_costs_are_shown_beside_a_real_model() -> None:
    one = speed(PLAIN, 50.0, 40.0, 100.0)  # 10, 15 and 0 ms more than the library's 10 ms for a second
    assert added_ms(one) == pytest.approx(10.0)
    assert f"| {SPEED.title} | {PLAIN} | +10.00 ms | 0.952 |" in markdown(RECORD, [one]).splitlines()
    first = next(case for case in CASES if case.measure is Measure.FIRST)
    metric, unit, comparison = METRICS[first.measure]
    other = Measurement(first.name, first.title, 1, metric, unit, comparison, PLAIN, (1.0,), (2.0,))
    assert "In proportion" not in markdown(RECORD, [other])


def test_results_are_written_as_json_and_as_tables(tmp_path: Path) -> None:
    write(tmp_path / "out", RECORD, [speed(PLAIN, 80.0)])
    record = json.loads((tmp_path / "out" / "speaking.json").read_text())
    assert record["measurements"] == [json.loads(json.dumps(as_record(speed(PLAIN, 80.0), AIMS)))]
    assert record["measurements"][0]["verdict"] == "missed"
    assert (tmp_path / "out" / "speaking.md").read_text() == markdown(RECORD, [speed(PLAIN, 80.0)])
