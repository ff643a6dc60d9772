"""What `hal0 up` tells, and when."""

import io
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from serve_app.launch import console
from serve_app.launch.console import Story, stamp
from serve_app.launch.environment import driver_environment
from serve_app.launch.news import News, news_in, tell
from serve_app.launch.output import FILE, KEPT_FILES, ServeLog
from serve_app.launch.slot_story import SlotStory
from serve_app.lifecycle import SlotState


def view(state: str, since: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"name": "chat", "state": state, "since": since, **more}


def told(*views: dict[str, Any]) -> list[str]:
    story = SlotStory()
    return list(itertools.chain.from_iterable(map(story.lines, views)))


def pulling(fraction: float | None) -> dict[str, Any]:
    total = {} if fraction is None else {"fraction": fraction, "bytes_done": 1, "bytes_total": 2**30}
    return view("pulling", 10.0, progress=total)


def test_a_life_in_lines() -> None:
    lines = told(
        view("offline"),
        view("starting", 10.0),
        view("warming", 11.0),
        view("ready", 12.5),
        view("serving", 13.0),
        view("ready", 14.0),
        view("idle", 20.0),
        view("unloading", 30.0),
        view("offline", 31.0),
    )
    assert lines == ["chat: starting", "chat: ready after 2.5 s", "chat: offline"]


def test_a_pull_is_told_of_by_tenths() -> None:
    fractions = [pulling(None), *(pulling(done / 100) for done in range(0, 101, 4))]
    lines = told(*fractions, view("starting", 60.0), view("ready", 61.0))
    assert lines[0] == "chat: pulling ..."
    assert lines[1] == "chat: pulling: 0% of 1,024.0 MiB"
    assert [re.findall(r"(\d+)%", line) for line in lines[1:12]] == [
        [str(done)] for done in (0, 12, 20, 32, 40, 52, 60, 72, 80, 92, 100)
    ]
    assert lines[12:] == ["chat: starting", "chat: ready after 51.0 s"]


def test_a_second_pull_begins_at_its_own_begin() -> None:
    lines = told(pulling(0.95), view("offline", 20.0), pulling(0.05))
    assert [re.findall(r"(\d+)%", line) for line in lines] == [["95"], ["5"]]


def test_an_error_has_its_cause_in_one_line() -> None:
    broken = view("error", last_error={"message": "no such\nfile"})
    assert told(view("starting"), broken, broken) == ["chat: starting", "chat: error: no such file"]
    assert told(view("error")) == ["chat: error: no reason is known"]


def test_after_an_error_a_load_counts_anew() -> None:
    assert told(view("starting", 1.0), view("error", 2.0), view("starting", 10.0), view("ready", 11.0))[-1] == (
        "chat: ready after 1.0 s"
    )


def test_why_it_waits_is_told_once() -> None:
    waits = view("offline", waiting={"reason": "no room"})
    assert told(waits, waits, view("offline", waiting={"reason": "pinned slots"}), view("starting"), waits) == [
        "chat: waits: no room",
        "chat: waits: pinned slots",
        "chat: starting",
        "chat: waits: no room",
    ]


@pytest.mark.parametrize("state", list(SlotState))
def test_what_was_told_is_not_told_again(state: SlotState) -> None:
    """A stream of events that was cut begins with the state of every slot."""
    once = told(view(state.value))
    assert told(view(state.value), view(state.value)) == once


def test_slots_that_are_there_already_are_told_of() -> None:
    assert told(view("serving")) == ["chat: ready"]
    assert told(view("offline")) == []


def test_lines_have_seconds_and_later_the_time_of_day() -> None:
    times, lines = iter([100.0, 101.25, 1000.0]), list[str]()
    story = Story(lambda: next(times), lines.append)
    story.add("Ray is up")
    story.add("late")
    assert lines[0] == "   1.2 s  Ray is up"
    assert re.fullmatch(r"\d\d:\d\d:\d\d  late", lines[1])
    assert stamp(599.9) == " 599.9 s"


class Gone(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_has_left_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Gone())
    monkeypatch.setattr("sys.stderr", Gone())
    console.say("x")
    console.complain("x")


def test_news_are_lines_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    tell("ray", "/tmp/ray/session_1")
    tell("failed", "line 1\nline 2")
    first, second = capfd.readouterr().out.splitlines()
    assert news_in(first) == News("ray", "/tmp/ray/session_1")
    assert news_in(second) == News("failed", "line 1\nline 2")


@pytest.mark.parametrize("line", ["", "Ray is up", "@hal0-up ", "@hal0-up {}", "@hal0-up [1]", '@hal0-up {"x": 1}'])
def test_other_lines_are_output(line: str) -> None:
    assert news_in(line) is None


def test_every_start_has_a_log_of_its_own(tmp_path: Path) -> None:
    for start in range(KEPT_FILES + 2):
        log = ServeLog(tmp_path)
        log.add(f"start {start} 100%s")
        log.close()
    assert (tmp_path / FILE).read_text() == f"start {KEPT_FILES + 1} 100%s\n"
    assert len(list(tmp_path.iterdir())) == KEPT_FILES + 1
    assert (tmp_path / f"{FILE}.1").read_text() == f"start {KEPT_FILES} 100%s\n"


def test_a_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.launch.output.FILE_BYTES", 1000)
    log = ServeLog(tmp_path)
    for number in range(1000):
        log.add(f"line {number}")
    assert log.last_lines[-1] == "line 999"
    assert len(log.last_lines) < 100
    log.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1000 * (KEPT_FILES + 1)


def test_what_the_user_sets_wins() -> None:
    environ = {"RAY_worker_niceness": "3", "PATH": "/bin", "HAL0_UP": "of another one"}
    own = driver_environment(environ, {"vulkan": 1.0}, "abc", dashboard=False, verbose=False)
    assert (own["RAY_worker_niceness"], own["PATH"], own["HAL0_UP"]) == ("3", "/bin", "abc")
    assert json.loads(own["RAY_OVERRIDE_RESOURCES"]) == {"vulkan": 1.0}
    assert own["RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"] == "0"


def test_what_only_people_look_at_is_off_unless_they_look() -> None:
    def names(dashboard: bool, verbose: bool) -> set[str]:
        return set(driver_environment({}, {}, "abc", dashboard, verbose))

    quiet = names(False, False)
    assert quiet - names(True, False) == {
        "RAY_USAGE_STATS_ENABLED",
        "RAY_enable_metrics_collection",
        "RAY_task_events_report_interval_ms",
    }
    assert quiet - names(False, True) == {"RAY_SERVE_LOG_TO_STDERR"}
    assert "RAY_OVERRIDE_RESOURCES" not in quiet
