"""One slot's state, record and sighting, from what is known of it."""

from typing import Any

import pytest

from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app.fleet import Phase
from serve_app.lifecycle import SlotState as S
from serve_app.news import ReplicaNews, Traffic
from serve_app.placement import GIB, Claim
from serve_app.slot_entry import SlotEntry, derived_state, record_of, seen, view_of

NEEDS = {
    "weights_bytes": 2 * GIB,
    "cache_bytes": GIB,
    "total_bytes": 3 * GIB,
    "node_bytes": GIB,
    "device_bytes": 2 * GIB,
}


def entry(**more: Any) -> SlotEntry:
    spec = SlotSpec(name="chat", provider="llama.cpp", model="m", capabilities=(Capability.CHAT,), priority=3, **more)
    return SlotEntry(spec, "vulkan", Claim(1, 0, GIB, {"vulkan": 0.1}), since=5.0)


def news(replica: str, state: S, **more: Any) -> dict[str, ReplicaNews]:
    return {replica: ReplicaNews("chat", replica, 1, state, **more)}


def test_a_record_has_all_that_people_ask_of_a_slot() -> None:
    one = entry()
    one.news = news("r1", S.READY, node="n2") | news("r2", S.WARMING, node="n1") | news("r3", S.STARTING, node="n1")
    one.traffic = {"i1": Traffic(2, 1, 7, 40.0), "i2": Traffic(1, 3, 0, None)}
    one.state, one.load_seconds, one.last_used, one.measured_bytes = S.SERVING, 2.5, 40.0, 123
    assert record_of(one) == {
        "name": "chat",
        "state": "serving",
        "since": 5.0,
        "progress": None,
        "sleeping": False,
        "pinned": False,
        "waiting": None,
        "yielding": False,
        "last_error": None,
        "provider": "llama.cpp",
        "model": "m",
        "models": {"chat": "m"},
        "aliases": [],
        "role_aliases": {},
        "adapters": [],
        "description": "",
        "capabilities": ["chat"],
        "context_size": 4096,
        "parallel_requests": 2,
        "device": "vulkan",
        "resources": {"CPU": 1, "memory": GIB, "vulkan": 0.1},
        "memory": {"estimated": None, "measured_bytes": 123},
        "min_replicas": 0,
        "max_replicas": 1,
        "idle_after_s": 10,
        "unload_after_s": 300,
        "priority": 3,
        "replicas": 3,
        "nodes": ["n1", "n2"],
        "last_node": None,
        "in_flight": 3,
        "queued": 4,
        "load_seconds": 2.5,
        "last_used": 40.0,
    }


def test_an_event_is_a_part_of_the_record() -> None:
    one = entry()
    assert view_of(one).items() <= record_of(one).items()
    assert view_of(one).keys() >= {"name", "state", "since", "progress", "last_error", "waiting", "yielding", "pinned"}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), S.OFFLINE),
        ((S.PULLING,), S.PULLING),
        ((S.PULLING, S.STARTING), S.STARTING),
        ((S.WARMING, S.STARTING), S.WARMING),
        ((S.WARMING, S.READY), S.READY),
        ((S.UNLOADING, S.ERROR), S.UNLOADING),
        ((S.UNLOADING, S.PULLING), S.PULLING),
        ((S.ERROR,), S.ERROR),
    ],
)
def test_the_replica_that_has_come_furthest_decides(states: tuple[S, ...], expected: S) -> None:
    one = entry()
    for number, state in enumerate(states):
        one.news |= news(f"r{number}", state)
    assert derived_state(one, 0.0) is expected


@pytest.mark.parametrize("state", list(S))
def test_a_replica_that_gave_up_is_an_error_whatever_it_says(state: S) -> None:
    one = entry()
    one.news = news("r1", state, gave_up=True)
    assert derived_state(one, 0.0) is S.ERROR


@pytest.mark.parametrize("state", [S.PULLING, S.STARTING, S.WARMING, S.READY, S.UNLOADING])
def test_what_is_to_be_unloaded_is_unloading_however_busy(state: S) -> None:
    one = entry()
    one.news, one.traffic, one.unwanted_since = news("r1", state), {"i1": Traffic(1, 0, 0, None)}, 0.0
    assert derived_state(one, 0.0) is S.UNLOADING


@pytest.mark.parametrize("state", [S.READY, S.SERVING, S.IDLE])
def test_quiet_counts_from_the_load_or_the_last_request(state: S) -> None:
    one = entry()
    one.news, one.state, one.loaded_at = news("r1", S.READY), state, 100.0
    assert [derived_state(one, now) for now in (109.9, 110.0)] == [S.READY, S.IDLE]
    one.last_used = 105.0
    assert [derived_state(one, now) for now in (114.9, 115.0)] == [S.READY, S.IDLE]
    one.traffic = {"i1": Traffic(1, 0, 0, None)}
    assert derived_state(one, 1000.0) is S.SERVING


@pytest.mark.parametrize(("state", "expected"), [(S.PULLING, {"fraction": 0.5}), (S.READY, None), (S.UNLOADING, None)])
def test_progress_is_shown_only_of_a_load(state: S, expected: dict[str, float] | None) -> None:
    one = entry()
    one.state, one.news = state, news("r1", S.STARTING) | news("r2", S.PULLING, progress={"fraction": 0.5})
    assert one.progress == expected


def test_the_longest_wait_and_the_highest_priority_of_all_ingresses_count() -> None:
    one = entry()
    assert (one.queued_since, one.priority) == (None, 3)
    one.traffic = {
        "i1": Traffic(0, 1, 0, None, 50.0, -2),
        "i2": Traffic(0, 1, 0, None, 40.0, -7),
        "i3": Traffic(0, 0, 0, None),
    }
    assert (one.queued_since, one.priority) == (40.0, -2)


# Sightings.


def test_a_slot_that_nobody_minds_is_not_seen() -> None:
    one = entry()
    one.cooldown.failed(0.0)
    one.failed = True
    assert seen(one) is None


@pytest.mark.parametrize(
    "minds",
    [
        {"news": news("r1", S.STARTING)},
        {"traffic": {"i1": Traffic(1, 0, 0, None)}},
        {"traffic": {"i1": Traffic(0, 1, 0, None)}},
        {"wanted": True},
        {"pinned": True},
        {"unwanted_since": 0.0},
    ],
    ids=lambda minds: next(iter(minds)),
)
def test_whatever_asks_for_a_slot_makes_it_seen(minds: dict[str, Any]) -> None:
    one = entry()
    for name, value in minds.items():
        setattr(one, name, value)
    assert seen(one) is not None


def test_a_floor_makes_a_slot_seen() -> None:
    assert seen(entry(min_replicas=1)) is not None


def test_a_sighting_has_what_the_policy_needs() -> None:
    one = entry()
    one.news = news("r1", S.READY, node="n1")
    one.traffic = {"i1": Traffic(2, 1, 7, 40.0, 50.0, 9)}
    one.last_used, one.loaded_at, one.load_seconds, one.pinned, one.wanted = 40.0, 30.0, 2.5, True, True
    one.cooldown.failed(100.0)
    found = seen(one)
    assert found is not None
    assert [(replica.node, replica.phase) for replica in found.replicas] == [("n1", Phase.READY)]
    assert (found.in_flight, found.queued, found.queued_since, found.priority) == (2, 1, 50.0, 9)
    assert (found.last_used, found.loaded_at, found.load_s) == (40.0, 30.0, 2.5)
    assert (found.pinned, found.wanted, found.unwanted, found.next_try) == (True, True, False, 110.0)


@pytest.mark.parametrize(
    ("state", "gave_up", "phase"),
    [
        (S.PULLING, False, Phase.LOADING),
        (S.STARTING, False, Phase.LOADING),
        (S.WARMING, False, Phase.LOADING),
        (S.READY, False, Phase.READY),
        (S.UNLOADING, False, Phase.LEAVING),
        (S.ERROR, False, Phase.READY),
        (S.ERROR, True, Phase.FAILED),
    ],
)
def test_the_phase_of_a_replica(state: S, gave_up: bool, phase: Phase) -> None:
    one = entry()
    one.news = news("r1", state, gave_up=gave_up)
    found = seen(one)
    assert found is not None and [replica.phase for replica in found.replicas] == [phase]


@pytest.mark.parametrize(
    ("estimated", "measured", "needs"),
    [
        (None, None, {}),
        (None, 5, {"memory": 5.0}),
        (NEEDS, None, {"memory": 1.0 * GIB, "vram_gib": 2.0}),
        (NEEDS, 5, {"memory": 1.0 * GIB, "vram_gib": 2.0}),
    ],
)
def test_what_a_replica_needs(estimated: dict[str, Any] | None, measured: int | None, needs: dict[str, float]) -> None:
    one = entry()
    one.wanted, one.estimated, one.measured_bytes = True, estimated, measured
    found = seen(one)
    assert found is not None and found.needs == needs
