"""Which of hal0's processes is which, and what they take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory import Weighed, table, total
from benchmarks.processes import OTHER, Memory, Process, family_of, memory, memory_of, process, role_of

ROLLUP = """5587a000-7fff000 ---p 00000000 00:00 0   [rollup]
Rss:              204800 kB
Pss:              102400 kB
Pss_Dirty:         90000 kB
Shared_Clean:     100000 kB
Private_Clean:      2048 kB
Private_Dirty:     81920 kB
"""


@pytest.mark.parametrize(
    ("title", "role"),
    [
        ("ray::ServeReplica:hal0:ingress", "ingress"),
        ("ray::ServeReplica:hal0:board", "board"),
        ("ray::ServeReplica:hal0:chat.lease", "slot chat.lease"),
        ("ray::ServeController.listen_for_change", "Serve's controller"),
        ("ray::ProxyActor", "Serve's proxy"),
        ("ray::IDLE", "idle worker"),
        ("/x/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp", "Ray: gcs_server"),
        ("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=/tmp", "Ray: raylet"),
        ("/x/python -u /x/ray/_private/log_monitor.py --session-dir=/tmp", "Ray: log monitor"),
        ("/x/python -I -S /x/providers/guard.py 5 llama-server", "guard"),
        ("/x/python -m serve_app up config.yaml", "launcher"),
        ("/x/python -m serve_app.run config.yaml", "driver"),
        ("/x/python /x/bin/serve run config.yaml", "driver"),
        ("/x/llama-server --model a.gguf", OTHER),
    ],
)
def test_roles(title: str, role: str) -> None:
    assert role_of(title) == role


def test_memory_of_a_rollup() -> None:
    assert memory_of(ROLLUP) == Memory(pss=100, rss=200, uss=82)


def test_memory_of_this_process() -> None:
    found = memory(os.getpid())
    assert 0 < found.uss <= found.pss <= found.rss


def test_family_has_those_that_know_the_folder_and_their_children(tmp_path: Path) -> None:
    """The child has nothing of its parent's environment."""
    program = "import subprocess; subprocess.run(['sleep', '60'], env={})"
    parent = subprocess.Popen([sys.executable, "-c", program], env={"HAL0_HOME": str(tmp_path)})
    try:
        found = wait_for_two(tmp_path)
        (child,) = (one for one in found if one.pid != parent.pid)
        assert (child.parent, child.title) == (parent.pid, "sleep 60")
        os.kill(child.pid, 9)
    finally:
        parent.kill()
        parent.wait()
    assert family_of(tmp_path) == []


def wait_for_two(folder: Path) -> list[Process]:
    import time

    deadline = time.monotonic() + 10
    while len(found := family_of(folder)) != 2 or not any(one.title.startswith("sleep") for one in found):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_a_process_that_has_ended_is_none() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert process(ended.pid) is None


def test_table_adds_up() -> None:
    one, two = Memory(10, 20, 5), Memory(1, 2, 0.5)
    found = [Weighed("before", "guard", 1, one), Weighed("after", "guard", 2, total([one, two]))]
    found.append(Weighed("after", "slot chat", 1, two))
    lines = list(table(found))
    assert "| guard | 10.0 | 11.0 (of 2) | 22 | 6 |" in lines
    assert "| slot chat |  | 1.0 | 2 | 0 |" in lines
    assert lines[-1] == "| **All** | 10 | 12 | 24 | 6 |"
