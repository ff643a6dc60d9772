"""Who is who among processes, and ending those of one start only."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from serve_app.launch.processes import Process, end_all, gone_within, marked, send

NAME = "HAL0_TEST_MARK"


@pytest.fixture
def sleepers() -> Iterator[list["subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for one in started:
        one.kill()
        one.communicate()


def sleeper(sleepers: list["subprocess.Popen[bytes]"], mark: str, *ignoring: str) -> Process:
    command = ["bash", "-c", f"trap '' {' '.join(ignoring)}; echo; exec sleep 600"] if ignoring else ["sleep", "600"]
    started = subprocess.Popen(command, env={NAME: mark, "PATH": os.environ["PATH"]}, stdout=subprocess.PIPE)
    sleepers.append(started)
    if ignoring:
        assert started.stdout is not None
        started.stdout.readline()
    process = Process.of(started.pid)
    assert process is not None
    return process


def test_a_process_is_known_until_it_has_ended() -> None:
    started = subprocess.Popen(["sleep", "600"])
    process = Process.of(started.pid)
    assert process is not None and process.alive
    started.kill()
    assert gone_within([process], 10)  # though nobody has waited for it
    started.wait()
    assert not process.alive and Process.of(started.pid) is None


def test_another_one_with_its_number_is_not_it() -> None:
    here = Process.of(os.getpid())
    assert here is not None
    assert not Process(here.pid, f"{here.born}0").alive
    assert not Process(here.pid, here.born.replace("-", "0")).alive, "the machine was started anew"


def test_nothing_is_sent_to_another_one_with_its_number(sleepers: list["subprocess.Popen[bytes]"]) -> None:
    process = sleeper(sleepers, "a")
    send(Process(process.pid, "long ago"), signal.SIGKILL)
    assert not gone_within([process], 0.2)


def test_only_those_with_the_mark_are_found(sleepers: list["subprocess.Popen[bytes]"]) -> None:
    first, second = sleeper(sleepers, "abc"), sleeper(sleepers, "abc")
    sleeper(sleepers, "abcd")
    sleeper(sleepers, "")
    assert set(marked(NAME, "abc")) == {first, second}


def test_those_that_are_found_are_ended_and_no_others(sleepers: list["subprocess.Popen[bytes]"]) -> None:
    sleeper(sleepers, "abc"), sleeper(sleepers, "abc")
    other = sleeper(sleepers, "abcd")
    assert end_all(lambda: marked(NAME, "abc"), 10) == 2
    assert [one.wait() for one in sleepers[:2]] == [-signal.SIGTERM] * 2
    assert other.alive


def test_who_does_not_listen_is_killed(sleepers: list["subprocess.Popen[bytes]"]) -> None:
    sleeper(sleepers, "abc", "TERM")
    assert end_all(lambda: marked(NAME, "abc"), 0.3) == 1
    assert sleepers[0].wait(10) == -signal.SIGKILL


def test_where_nothing_is_there_is_nothing_to_end() -> None:
    assert end_all(lambda: marked(NAME, "nobody"), 10) == 0
