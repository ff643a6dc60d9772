"""What a running `hal0 up` writes down, and what is put away when it has died."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.launch.down import Ambiguous, chosen, down
from serve_app.launch.leftovers import clear, remove_session
from serve_app.launch.processes import Process
from serve_app.launch.record import RunFolder, UpRecord

HERE = Process.of(os.getpid())
assert HERE is not None
DEAD = Process(HERE.pid, "long ago")
RECORD = UpRecord("abc", HERE, 1700000000.0, 8080, "http://127.0.0.1:8080", "/etc/hal0.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_a_record_is_read_as_it_was_written(folder: RunFolder) -> None:
    assert folder.claim(RECORD)
    assert folder.records() == [RECORD] == [folder.at(8080)]
    noted = folder.note_session(RECORD, "/tmp/ray/session_1")
    assert folder.at(8080) == noted == replace(RECORD, session="/tmp/ray/session_1")


def test_a_port_is_claimed_once(folder: RunFolder, tmp_path: Path) -> None:
    assert folder.claim(RECORD)
    assert not folder.claim(replace(RECORD, mark="def"))
    assert folder.claim(replace(RECORD, port=8081))
    assert folder.records() == [RECORD, replace(RECORD, port=8081)]
    assert not list(tmp_path.rglob("*.draft"))


def test_what_is_no_record_is_passed_over(folder: RunFolder, tmp_path: Path) -> None:
    folder.claim(RECORD)
    for name, text in (("1.json", ""), ("2.json", "[]"), ("3.json", '{"mark": "x"}'), ("4.json", "{")):
        (tmp_path / "up" / name).write_text(text)
    assert folder.records() == [RECORD]


def test_only_ones_own_record_is_forgotten(folder: RunFolder) -> None:
    folder.claim(RECORD)
    folder.derived_config(8080).write_text("x")
    folder.forget(replace(RECORD, mark="def"))
    assert folder.records() == [RECORD]
    folder.forget(RECORD)
    assert not folder.records() and not folder.derived_config(8080).exists()


def test_it_runs_while_its_launcher_does() -> None:
    assert RECORD.runs
    assert not replace(RECORD, launcher=DEAD).runs


def test_what_a_dead_one_left_is_put_away_and_nothing_of_one_that_runs(folder: RunFolder, tmp_path: Path) -> None:
    sessions = [tmp_path / "session_1", tmp_path / "session_2"]
    for port, launcher, session in ((1, DEAD, sessions[0]), (2, HERE, sessions[1])):
        session.mkdir()
        assert launcher is not None
        folder.claim(replace(RECORD, port=port, launcher=launcher, session=str(session)))
        folder.derived_config(port).write_text("x")
    [told] = clear(folder)
    assert "on port 1" in told and f"pid {DEAD.pid}" in told and "no process" in told
    assert [record.port for record in folder.records()] == [2]
    assert [session.exists() for session in sessions] == [False, True]
    assert not folder.derived_config(1).exists() and folder.derived_config(2).exists()


def test_a_session_goes_with_the_link_to_it(tmp_path: Path) -> None:
    ours, other, latest = tmp_path / "session_1", tmp_path / "session_2", tmp_path / "session_latest"
    for session in (ours, other):
        (session / "logs").mkdir(parents=True)
    latest.symlink_to(other)
    remove_session(str(ours))
    assert not ours.exists() and latest.exists()
    remove_session(str(other))
    assert not other.exists() and not latest.is_symlink()


def test_nothing_but_a_session_is_removed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "session_link").symlink_to(tmp_path / "home")
    for path in (None, str(tmp_path / "home"), str(tmp_path / "session_link"), str(tmp_path / "session_none")):
        remove_session(path)
    assert (tmp_path / "home").is_dir()


def test_down_needs_to_know_which(folder: RunFolder) -> None:
    running = [RECORD, replace(RECORD, port=8081)]
    dead = replace(RECORD, port=8082, launcher=DEAD)
    with pytest.raises(Ambiguous, match=r"8080 \(/etc/hal0.yaml\), 8081 .*--port"):
        chosen(running, None)
    assert chosen(running, 8081) == [running[1]]
    assert chosen([running[0], dead], None) == [running[0], dead]
    assert chosen([], None) == []


def test_down_says_that_nothing_runs_and_puts_away_what_is_left(folder: RunFolder) -> None:
    assert list(down(folder, None)) == ["hal0 is not running."]
    assert list(down(folder, 8080)) == ["hal0 is not running on port 8080."]
    folder.claim(replace(RECORD, launcher=DEAD))
    [told] = down(folder, None)
    assert "not running" in told and "on port 8080" in told
    assert not folder.records()
