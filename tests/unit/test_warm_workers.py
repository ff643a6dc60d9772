"""How many idle workers a node lacks."""

import subprocess
import sys
from typing import Any

import pytest

from serve_app.launch.environment import FAST_PATH
from serve_app.warm_workers import COMMON, RAYLET, STARTING_S, Shortage, idle_workers, wish

NIL_ACTOR, NIL_JOB = b"\xff" * 16, b"\xff" * 4
JOB = "01000000"


def stats(*workers: dict[str, Any]) -> Any:
    return RAYLET.GetNodeStatsReply(core_workers_stats=[COMMON.CoreWorkerStats(**one) for one in workers])


@pytest.mark.parametrize(
    ("worker", "idle"),
    [
        ({}, True),
        ({"actor_id": NIL_ACTOR, "job_id": NIL_JOB}, True),
        ({"actor_id": NIL_ACTOR, "job_id": bytes.fromhex(JOB)}, True),
        ({"actor_id": NIL_ACTOR, "job_id": bytes.fromhex("02000000")}, False),
        ({"actor_id": b"\x01" * 16}, False),
        ({"num_running_tasks": 1}, False),
        ({"worker_type": COMMON.WorkerType.DRIVER}, False),
    ],
    ids=str,
)
def test_who_is_idle(worker: dict[str, Any], idle: bool) -> None:
    assert idle_workers(stats(worker, {"actor_id": b"\x02" * 16}), JOB) == idle


def test_what_is_missing_is_asked_for_once() -> None:
    shortage = Shortage(2)
    assert shortage.missing(0, now=0) == 2
    assert shortage.missing(0, now=1) == 0, "both are starting"
    assert shortage.missing(1, now=2) == 0, "one is here, the other is starting"
    assert shortage.missing(2, now=3) == 0
    assert shortage.missing(1, now=4) == 1, "one was taken"
    assert shortage.missing(1, now=5) == 0


def test_a_worker_that_does_not_come_is_asked_for_again() -> None:
    shortage = Shortage(1)
    assert shortage.missing(0, now=0) == 1
    assert shortage.missing(0, now=STARTING_S - 1) == 0
    assert shortage.missing(0, now=STARTING_S) == 1


def test_a_worker_that_is_taken_before_it_was_seen_is_replaced_at_once() -> None:
    shortage = Shortage(1)
    assert shortage.missing(0, now=0) == 1
    shortage.taken()
    assert shortage.missing(0, now=1) == 1


def test_more_than_enough_is_left_alone() -> None:
    assert Shortage(1).missing(3, now=0) == 0


def test_the_wish_is_for_workers_that_any_replica_may_become() -> None:
    request = wish(2)
    assert request.num_workers == 2 and not request.HasField("job_id")
    assert request.runtime_env_info.serialized_runtime_env == "{}" and request.keep_alive_duration_secs > 3600


def test_what_workers_take_in_before_they_are_needed_is_what_a_replica_needs() -> None:
    needed = {
        "serve_app.slot",
        "ray.serve._private.replica",
        "ray.serve._private.controller",
        "anyio._backends._asyncio",
    }
    code = f"import sys, {FAST_PATH['RAY_preload_python_modules']}; print(*({needed} - set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
