"""The board: what replicas, ingresses, people and the policy say, and the state and the events that follow."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app.board import STABLE_S, UNLOAD_PATIENCE_S, Board
from serve_app.errors import EngineDied, LoadFailed
from serve_app.fleet import Phase, Wait
from serve_app.lifecycle import LEGAL_MOVES, LOADING
from serve_app.lifecycle import SlotState as S
from serve_app.news import ReplicaNews, Traffic, error_record
from serve_app.placement import GIB, Claim

SLOT = SlotSpec(name="chat", provider="llama.cpp", model="m.gguf", capabilities=(Capability.CHAT,), idle_after_s=10)
NOTHING = Claim(0, 0, 0, {})
FAILED = error_record(LoadFailed("chat", "engine_exited", "it fell", ("bad model",)), ("bad model",))
DIED = error_record(EngineDied("chat", "it was killed"))


def board_of(pins: dict[str, bool] | None = None, now: float = 0.0, **more: Any) -> Board:
    return Board({"chat": (SLOT.model_copy(update=more), "cpu", NOTHING)}, now, pins)


@pytest.fixture
def board() -> Board:
    return board_of()


def news(number: int, state: S, replica: str = "r1", **more: Any) -> ReplicaNews:
    if state is S.READY:
        more.setdefault("load_seconds", 0.5)
    return ReplicaNews("chat", replica, number, state, **more)


def failure(number: int, replica: str = "r1") -> ReplicaNews:
    return news(number, S.ERROR, replica, error=FAILED, gave_up=True)


def crash(number: int, replica: str = "r1") -> ReplicaNews:
    return news(number, S.ERROR, replica, error=DIED)


def traffic(in_flight: int, answered: int = 0, last_used: float | None = None, queued: int = 0) -> dict[str, Traffic]:
    return {"chat": Traffic(in_flight, queued, answered, last_used)}


def homes(board: Board) -> set[str]:
    board.load("chat", 0)
    return set(board.sightings()["chat"].homes)


def record(board: Board) -> dict[str, Any]:
    found = board.record("chat")
    assert found is not None
    return found


def state(board: Board, now: float) -> str:
    return str(board.records(now)[0]["state"])


def events(board: Board) -> list[dict[str, Any]]:
    return list(board.batch(f"{board.events.cursor.rpartition('-')[0]}-0").events)


def moves(board: Board) -> list[str]:
    return [event["state"] for event in events(board) if event["type"] == "state"]


def loaded(board: Board, now: float = 1.0) -> Board:
    board.replica_news(news(1, S.STARTING), now)
    board.replica_news(news(2, S.WARMING), now)
    board.replica_news(news(3, S.READY), now)
    return board


LIFE = ["pulling", "starting", "warming", "ready", "serving", "ready", "idle", "unloading", "offline"]


def test_a_whole_life_is_told_move_by_move(board: Board) -> None:
    for at, step in enumerate((S.PULLING, S.STARTING, S.WARMING, S.READY), start=1):
        board.replica_news(news(at, step), at)
    board.traffic_report("i1", traffic(1), 5)
    board.traffic_report("i1", traffic(0, answered=1, last_used=6), 6)
    board.tick(15.9)
    board.tick(16)
    board.replica_news(news(9, S.UNLOADING), 17)
    board.replica_news(news(10, S.OFFLINE), 18)
    assert moves(board) == LIFE
    assert [event["at"] for event in events(board)] == [1, 2, 3, 4, 5, 6, 16, 17, 18]
    assert all(event["since"] == event["at"] for event in events(board))


def test_idle_is_stable_and_ends_with_a_request(board: Board) -> None:
    loaded(board)
    assert [state(board, now) for now in (2, 11, 12, 500)] == ["ready", "idle", "idle", "idle"]
    board.traffic_report("i1", traffic(1), 501)
    assert state(board, 501) == "serving"


def test_a_slot_that_is_idle_at_once_passes_ready() -> None:
    board = loaded(board_of(idle_after_s=0))
    board.traffic_report("i1", traffic(1), 2)
    board.traffic_report("i1", traffic(0, answered=1, last_used=3), 3)
    assert moves(board)[-4:] == ["ready", "serving", "ready", "idle"]


def test_an_ingress_that_dies_long_after_its_request_began_leaves_a_slot_idle_by_way_of_ready(board: Board) -> None:
    loaded(board)
    board.traffic_report("i1", traffic(3), 2)
    board.reporter_gone("i1", 100)
    assert moves(board)[-3:] == ["serving", "ready", "idle"]
    assert record(board)["in_flight"] == 0


def test_late_news_is_ignored(board: Board) -> None:
    board.replica_news(news(2, S.READY), 1)
    board.replica_news(news(1, S.STARTING), 1)
    assert state(board, 1) == "ready"


def test_news_that_is_told_again_moves_nothing(board: Board) -> None:
    loaded(board)
    told = board.events.cursor
    board.replica_news(news(4, S.READY), 2)
    assert board.events.cursor == told


def test_warming_passes_ready_before_serving_even_if_the_traffic_comes_first(board: Board) -> None:
    board.replica_news(news(1, S.STARTING), 1)
    board.replica_news(news(2, S.WARMING), 2)
    board.traffic_report("i1", traffic(1), 3)
    board.replica_news(news(3, S.READY), 3)
    assert moves(board) == ["starting", "warming", "ready", "serving"]


@pytest.mark.parametrize("first", [S.PULLING, S.WARMING, S.READY, S.UNLOADING, S.ERROR])
def test_a_board_that_was_restarted_understands_whatever_it_hears_first(board: Board, first: S) -> None:
    board.replica_news(news(70, first, error=FAILED if first is S.ERROR else None), 1)
    assert record(board)["state"] == first
    assert all(after in LEGAL_MOVES[before] for before, after in itertools.pairwise([S.OFFLINE, *map(S, moves(board))]))


def test_the_replica_that_has_come_furthest_counts(board: Board) -> None:
    loaded(board)
    board.replica_news(news(1, S.STARTING, "r2"), 2)
    assert state(board, 2) == "ready"
    board.reporter_gone("r1", 3)
    assert state(board, 3) == "starting"
    assert moves(board)[-2:] == ["offline", "starting"]


def test_a_killed_replica_leaves_nothing_behind(board: Board) -> None:
    loaded(board)
    board.traffic_report("i1", traffic(3), 2)
    assert board.reporters() == {"r1", "i1"}
    board.reporter_gone("r1", 3)
    assert state(board, 3) == "offline"
    assert board.reporters() == {"i1"}


def test_a_gone_ingress_takes_its_traffic_along(board: Board) -> None:
    loaded(board)
    board.traffic_report("i1", traffic(3, queued=2), 2)
    board.traffic_report("i2", traffic(1, queued=1), 2)
    assert (record(board)["in_flight"], record(board)["queued"]) == (4, 3)
    board.reporter_gone("i1", 3)
    assert (state(board, 3), record(board)["in_flight"], record(board)["queued"]) == ("serving", 1, 1)


def test_requests_between_two_reports_are_use_and_a_move(board: Board) -> None:
    loaded(board)
    board.traffic_report("i1", traffic(0, answered=1, last_used=2), 2)
    assert state(board, 12) == "idle"
    board.traffic_report("i1", traffic(0, answered=5, last_used=13), 13)
    assert moves(board)[-3:] == ["idle", "serving", "ready"]
    assert record(board)["last_used"] == 13


# Progress.


def test_progress_is_told_when_it_changes_and_shown_while_it_loads(board: Board) -> None:
    half, all_of_it = {"fraction": 0.5}, {"fraction": 1.0}
    board.replica_news(news(1, S.PULLING), 1)
    board.replica_news(news(2, S.PULLING, progress=half), 2)
    board.replica_news(news(3, S.PULLING, progress=half), 3)
    board.replica_news(news(4, S.PULLING, progress=all_of_it), 4)
    assert record(board)["progress"] == all_of_it
    board.replica_news(news(5, S.STARTING), 5)
    assert [(e["type"], e["progress"]) for e in events(board)] == [
        ("state", None),
        ("progress", half),
        ("progress", all_of_it),
        ("state", None),
    ]
    assert record(board)["progress"] is None


def test_a_move_brings_its_progress_along(board: Board) -> None:
    board.replica_news(news(1, S.STARTING), 1)
    board.replica_news(news(2, S.WARMING, progress={"fraction": 0.25}), 2)
    assert [(e["type"], e["progress"]) for e in events(board)] == [("state", None), ("state", {"fraction": 0.25})]


# Failures and crashes.


def test_a_failed_load_is_an_error_with_its_cause_until_the_next_one_succeeds(board: Board) -> None:
    board.replica_news(news(1, S.STARTING), 1)
    board.replica_news(failure(2), 2)
    assert record(board)["last_error"] == FAILED | {"next_try": 12.0}
    board.replica_news(news(3, S.OFFLINE), 3)
    assert state(board, 100) == "error", "it stays one when its replica is gone"
    board.replica_news(news(1, S.STARTING, "r2"), 101)
    assert (record(board)["state"], record(board)["last_error"]["code"]) == ("starting", "engine_exited")
    board.replica_news(news(2, S.READY, "r2", load_seconds=0.5), 102)
    assert (record(board)["last_error"], record(board)["load_seconds"]) == (None, 0.5)


def fails(board: Board, now: float, replica: str) -> float:
    """A load that fails at once, and when the next one may be tried."""
    board.replica_news(news(1, S.STARTING, replica), now)
    board.replica_news(failure(2, replica), now)
    board.replica_news(failure(3, replica), now + 2)  # told again
    board.replica_news(news(4, S.OFFLINE, replica), now + 3)
    return float(record(board)["last_error"]["next_try"])


def test_every_failure_in_a_row_doubles_the_pause(board: Board) -> None:
    assert [fails(board, at, f"r{at}") - at for at in (0, 100, 200, 300, 1000, 2000)] == [10, 20, 40, 80, 160, 300]


def test_load_ends_the_pause_and_forgets_the_failures(board: Board) -> None:
    fails(board, 0, "r1")
    fails(board, 100, "r2")
    assert board.load("chat", 101)["last_error"]["next_try"] is None
    assert events(board)[-1]["type"] == "error", "ingresses hear of it"
    assert board.sightings()["chat"].next_try is None
    assert fails(board, 200, "r3") == 210


def test_half_a_minute_of_success_forgets_the_failures(board: Board) -> None:
    fails(board, 0, "r1")
    board.replica_news(news(1, S.STARTING, "r2"), 100)
    board.replica_news(news(2, S.READY, "r2"), 100)
    board.tick(100 + STABLE_S)
    board.replica_news(news(3, S.OFFLINE, "r2"), 200)
    assert fails(board, 300, "r3") == 310


def test_less_than_that_does_not(board: Board) -> None:
    fails(board, 0, "r1")
    board.replica_news(news(1, S.STARTING, "r2"), 100)
    board.replica_news(news(2, S.READY, "r2"), 100)
    board.tick(100 + STABLE_S - 1)
    board.replica_news(news(3, S.OFFLINE, "r2"), 130)
    assert fails(board, 300, "r3") == 320


def test_a_crash_has_no_pause_and_the_replica_is_still_of_use(board: Board) -> None:
    loaded(board)
    board.replica_news(crash(4), 2)
    assert (record(board)["state"], record(board)["last_error"]) == ("error", DIED | {"next_try": None})
    assert [replica.phase for replica in board.sightings()["chat"].replicas] == [Phase.READY]
    board.replica_news(news(5, S.STARTING), 3)
    board.replica_news(news(6, S.READY), 4)
    assert moves(board)[-3:] == ["error", "starting", "ready"]


def test_a_crash_loop_has_a_pause_even_if_no_load_was_seen_before_it(board: Board) -> None:
    loaded(board)
    board.replica_news(crash(4), 2)
    board.replica_news(failure(5), 3)
    assert record(board)["last_error"]["next_try"] == 13
    assert [replica.phase for replica in board.sightings()["chat"].replicas] == [Phase.FAILED]


def test_an_engine_that_died_is_revived_only_where_it_must_always_be_there() -> None:
    for more, expected in (({}, []), ({"min_replicas": 1}, ["r1"]), ({"pin": True}, ["r1"])):
        board = loaded(board_of(**more))
        assert board.to_revive() == []
        board.replica_news(crash(4), 2)
        assert board.to_revive() == expected
        board.replica_news(failure(5), 3)
        assert board.to_revive() == [], "one that gave up is replaced"


def test_the_other_replica_keeps_a_slot_going_when_one_gives_up(board: Board) -> None:
    loaded(board)
    board.replica_news(news(1, S.STARTING, "r2"), 2)
    board.replica_news(failure(2, "r2"), 3)
    assert state(board, 3) == "ready"


def test_what_fits_nowhere_is_an_error_until_it_fits(board: Board) -> None:
    board.placement_checked("chat", "it needs npu: 1", 1)
    board.placement_checked("chat", "it needs npu: 1", 2)
    assert (record(board)["state"], record(board)["last_error"]["code"]) == ("error", "no_node_for_slot")
    assert record(board)["last_error"]["detail"] == "it needs npu: 1"
    board.placement_checked("chat", "it needs npu: 2", 3)
    assert [event["type"] for event in events(board)] == ["state", "error"]
    board.placement_checked("chat", None, 4)
    assert (record(board)["state"], record(board)["last_error"]) == ("offline", None)


# What people ask for.


def test_a_load_is_wanted_until_it_succeeds(board: Board) -> None:
    assert board.load("chat", 1)["state"] == "offline"
    assert board.sightings()["chat"].wanted
    loaded(board, 2)
    assert not board.sightings()["chat"].wanted
    board.load("chat", 3)
    assert not board.sightings()["chat"].wanted, "it is loaded"


def test_a_load_that_fails_is_not_wanted_for_ever(board: Board) -> None:
    board.load("chat", 1)
    board.replica_news(news(1, S.STARTING), 2)
    board.replica_news(failure(2), 3)
    assert not board.sightings()["chat"].wanted
    board.want("chat")
    assert not board.sightings()["chat"].wanted, "who waited for it has been told"


def test_who_gave_up_waiting_still_wants_it(board: Board) -> None:
    board.want("chat")
    assert board.sightings()["chat"].wanted
    loaded(board)
    board.want("chat")
    assert not board.sightings()["chat"].wanted


def test_unload_goes_through_unloading_and_is_granted_when_the_replica_is_gone(board: Board) -> None:
    loaded(board)
    assert board.unload("chat", 2)["state"] == "unloading"
    assert board.sightings()["chat"].unwanted
    board.replica_news(news(4, S.READY), 3)
    assert record(board)["state"] == "unloading", "it repeats itself as long as it is there"
    board.replica_news(news(5, S.UNLOADING), 4)
    board.replica_news(news(6, S.OFFLINE), 4.5)
    assert moves(board)[-2:] == ["unloading", "offline"]
    board.traffic_report("i1", traffic(0, queued=1), 4.6)
    assert not board.sightings()["chat"].unwanted, "a request that comes then has it loaded again"


def test_unload_is_granted_when_the_replica_was_killed(board: Board) -> None:
    loaded(board)
    board.unload("chat", 2)
    board.reporter_gone("r1", 2.5)
    assert state(board, 2.5) == "offline"
    assert "chat" not in board.sightings()


def test_a_request_that_waits_without_a_replica_does_not_outlast_the_wish_to_unload(board: Board) -> None:
    board.traffic_report("i1", traffic(0, queued=1), 1)
    board.unload("chat", 2)
    board.tick(2 + UNLOAD_PATIENCE_S - 0.1)
    assert board.sightings()["chat"].unwanted
    board.tick(2 + UNLOAD_PATIENCE_S)
    assert not board.sightings()["chat"].unwanted


def test_a_replica_on_its_way_when_its_slot_was_unloaded_is_unloaded(board: Board) -> None:
    board.traffic_report("i1", traffic(0, queued=1), 1)
    board.unload("chat", 2)
    board.replica_news(news(1, S.STARTING), 3)
    assert moves(board) == ["starting", "unloading"]
    board.tick(100)
    assert board.sightings()["chat"].unwanted


def test_unload_forgets_a_failure(board: Board) -> None:
    fails(board, 0, "r1")
    found = board.unload("chat", 4)
    assert (found["state"], found["last_error"]["next_try"]) == ("offline", None)
    assert "chat" not in board.sightings()


def test_load_while_unloading_is_for_the_next_life(board: Board) -> None:
    loaded(board)
    board.traffic_report("i1", traffic(1), 2)
    board.unload("chat", 3)
    assert board.load("chat", 4)["state"] == "unloading"
    board.replica_news(news(4, S.READY), 5)
    assert board.sightings()["chat"].wanted, "the replica that leaves repeats itself"
    board.replica_news(news(5, S.OFFLINE), 6)
    sighting = board.sightings()["chat"]
    assert (sighting.wanted, sighting.unwanted) == (True, False)


def test_load_takes_back_an_unload_that_has_not_begun(board: Board) -> None:
    board.traffic_report("i1", traffic(0, queued=1), 1)
    board.unload("chat", 2)
    board.load("chat", 3)
    sighting = board.sightings()["chat"]
    assert (sighting.wanted, sighting.unwanted) == (True, False)


def brought_to(state: S, board: Board) -> Board:
    match state:
        case S.OFFLINE:
            pass
        case S.SERVING:
            board.traffic_report("i1", traffic(1), 1)
            board.replica_news(news(1, S.READY), 1)
        case S.IDLE:
            board.replica_news(news(1, S.READY), 1)
            board.tick(11)
        case S.ERROR:
            board.replica_news(failure(1), 1)
        case _:
            board.replica_news(news(1, state), 5)
    assert record(board)["state"] == state
    return board


ASK: dict[str, Callable[[Board, float], dict[str, Any]]] = {
    "load": lambda board, now: board.load("chat", now),
    "unload": lambda board, now: board.unload("chat", now),
    "pin": lambda board, now: board.pin("chat", True, now),
    "unpin": lambda board, now: board.pin("chat", False, now),
}


@pytest.mark.parametrize("asked", ASK)
@pytest.mark.parametrize("now", list(S))
def test_people_may_ask_for_anything_in_every_state_and_twice_is_once(board: Board, now: S, asked: str) -> None:
    brought_to(now, board)
    first = ASK[asked](board, 12)
    told = board.events.cursor
    assert ASK[asked](board, 12) == first
    assert board.events.cursor == told
    if asked == "unload":
        assert first["state"] in ("unloading", "offline", "error")
    else:
        assert first["state"] == now


def test_pins_are_told_and_kept_where_they_differ_from_the_configuration() -> None:
    board = board_of(pin=True)
    assert record(board)["pinned"] and board.pins() == {}
    board.pin("chat", False, 1)
    board.pin("chat", True, 12)
    assert [event["type"] for event in events(board)] == ["unpinned", "pinned"]
    board.pin("chat", False, 3)
    assert board.pins() == {"chat": False}
    assert not record(board_of(board.pins(), pin=True))["pinned"]


def test_a_slot_to_preload_is_wanted_from_the_start() -> None:
    assert board_of(preload=True).sightings()["chat"].wanted


# What the policy says.


def test_who_waits_for_what_is_told_when_its_substance_changes(board: Board) -> None:
    wait = Wait("needs 2 GiB; waits for other to finish its turn (12 s left)", ("other",))
    board.decided({"chat": wait}, (), 1)
    assert record(board)["waiting"] == {"reason": wait.reason, "blockers": ["other"], "hopeless": False}
    sooner = Wait("needs 2 GiB; waits for other to finish its turn (11 s left)", ("other",))
    board.decided({"chat": sooner}, (), 2)
    assert record(board)["waiting"]["reason"] == sooner.reason
    board.decided({"chat": Wait("other is pinned", ("other",), hopeless=True)}, (), 3)
    board.decided({}, (), 4)
    told = [event["waiting"] for event in events(board)]
    assert [one and one["hopeless"] for one in told] == [False, True, None]
    assert {event["type"] for event in events(board)} == {"waiting"}


def test_a_slot_whose_turn_is_over_is_told(board: Board) -> None:
    for at, yielding in enumerate([("chat",), ("chat",), ("other",), ()], start=1):
        board.decided({}, yielding, at)
    assert [event["yielding"] for event in events(board)] == [True, False]


def test_somebody_waits_only_while_somebody_does(board: Board) -> None:
    assert not board.somebody_waits
    board.traffic_report("i1", traffic(0, queued=1), 1)
    assert board.somebody_waits
    board.traffic_report("i1", traffic(1), 2)
    assert not board.somebody_waits
    board.decided({"chat": Wait("no room")}, (), 3)
    assert board.somebody_waits


def test_memory_is_known_of_nodes_where_replicas_live(board: Board) -> None:
    board.replica_news(news(1, S.STARTING, node="n1", available_bytes=2 * GIB), 1)
    assert board.available_gib() == {"n1": 2.0}
    board.replica_news(news(2, S.OFFLINE, node="n1", available_bytes=3 * GIB), 2)
    assert board.available_gib() == {}


def test_an_unknown_slot_has_no_record(board: Board) -> None:
    assert board.record("other") is None


# Whatever happens.

REPLICAS, INGRESSES = ("r1", "r2", "r3"), ("i1", "i2")
OPERATIONS = st.one_of(
    st.tuples(
        st.just("news"),
        st.sampled_from(REPLICAS),
        st.sampled_from(S),
        st.booleans(),
        st.sampled_from([None, 0.0, 0.5, 1.0]),
        st.integers(-1, 3),
    ),
    st.tuples(st.just("traffic"), st.sampled_from(INGRESSES), st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)),
    st.tuples(st.just("gone"), st.sampled_from(REPLICAS + INGRESSES)),
    st.tuples(st.just("placement"), st.sampled_from([None, "it needs npu: 1"])),
    st.tuples(st.just("decided"), st.booleans(), st.booleans()),
    st.tuples(st.sampled_from(["load", "unload", "want", "pin", "unpin", "tick"])),
)


class Life:
    """One slot that anything may happen to, and a watcher who reads its events."""

    def __init__(self, idle_after_s: float) -> None:
        self.now = 1000.0
        self.board = board_of(now=self.now, idle_after_s=idle_after_s, max_replicas=3)
        self.numbers: dict[str, int] = dict.fromkeys(REPLICAS, 10)
        self.answered: dict[str, int] = dict.fromkeys(INGRESSES, 0)
        self.cursor = self.board.events.cursor
        self.states = [S.OFFLINE]

    def does(self, operation: tuple[Any, ...], after_s: float) -> None:
        self.now += after_s
        match operation:
            case ("news", replica, what, gave_up, fraction, step):
                self.numbers[replica] += step
                error = FAILED if what is S.ERROR else None
                progress = {"fraction": fraction} if what in LOADING and fraction is not None else None
                told = news(
                    self.numbers[replica],
                    what,
                    replica,
                    error=error,
                    gave_up=error is not None and gave_up,
                    progress=progress,
                )
                self.board.replica_news(told, self.now)
            case ("traffic", ingress, in_flight, queued, answered):
                self.answered[ingress] += answered
                last_used = self.now if answered else None
                report = traffic(in_flight, self.answered[ingress], last_used, queued)
                self.board.traffic_report(ingress, report, self.now)
            case ("gone", reporter):
                self.board.reporter_gone(reporter, self.now)
            case ("placement", advice):
                self.board.placement_checked("chat", advice, self.now)
            case ("decided", waits, yields):
                self.board.decided({"chat": Wait("no room")} if waits else {}, ["chat"] if yields else [], self.now)
            case ("want",):
                self.board.want("chat")
            case ("tick",):
                self.board.tick(self.now)
            case (asked,):
                assert ASK[asked](self.board, self.now) == ASK[asked](self.board, self.now), "twice is once"

    def watch(self) -> None:
        batch = self.board.batch(self.cursor)
        assert not batch.reset
        self.cursor = batch.cursor
        for event in batch.events:
            if event["type"] == "state":
                assert S(event["state"]) in LEGAL_MOVES[self.states[-1]]
                self.states.append(S(event["state"]))
            assert event["state"] == self.states[-1]
            assert event["progress"] is None or event["state"] in LOADING
        found = record(self.board)
        assert found["state"] == self.states[-1]
        assert found["state"] != "error" or found["last_error"] is not None
        assert found["state"] != "serving" or found["in_flight"]


@settings(max_examples=300)
@given(
    operations=st.lists(st.tuples(OPERATIONS, st.sampled_from([0.0, 0.1, 2.0, 11.0, 40.0])), max_size=40),
    idle_after_s=st.sampled_from([0.0, 10.0]),
)
def test_no_history_leads_to_an_illegal_move_or_an_event_that_a_watcher_misses(
    operations: list[tuple[tuple[Any, ...], float]], idle_after_s: float
) -> None:
    life = Life(idle_after_s)
    for operation, after_s in operations:
        life.does(operation, after_s)
        life.watch()


def test_a_pull_before_the_place(board: Board) -> None:
    board.traffic_report("i1", {"chat": Traffic(0, 1, 0, None, 1.0, 0)}, 1)
    assert [slot.name for slot in board.to_load(1)] == ["chat"]
    board.pull_began("chat", 2)
    assert state(board, 2) == "pulling"
    assert board.sightings() == {}, "the policy does not hear of it yet"
    assert board.to_load(2) == []
    board.pull_progress("chat", {"fraction": 0.5}, 3)
    assert board.records(3)[0]["progress"] == {"fraction": 0.5}
    board.pull_ended("chat", None, 4)
    assert board.sightings()["chat"].queued == 1
    assert state(board, 4) == "pulling", "until its replica is heard of"
    board.replica_news(news(1, S.STARTING), 5)
    assert state(board, 5) == "starting"


def test_a_pull_that_failed_is_a_failed_load(board: Board) -> None:
    board.traffic_report("i1", {"chat": Traffic(0, 1, 0, None, 1.0, 0)}, 1)
    board.pull_began("chat", 2)
    board.pull_ended("chat", {"code": "model_gated"}, 3)
    record = board.records(3)[0]
    assert (record["state"], record["last_error"]) == ("error", {"code": "model_gated", "next_try": 13.0})
    assert board.to_load(12) == [] and board.to_load(13) != []


def test_unloading_ends_a_pull(board: Board) -> None:
    board.load("chat", 1)
    board.pull_began("chat", 2)
    board.unload("chat", 3)
    assert state(board, 3) == "offline"
    board.pull_ended("chat", {"code": "late"}, 4)
    assert state(board, 4) == "offline"


def test_a_model_that_is_here_waits_for_its_place_without_a_pull(board: Board) -> None:
    board.load("chat", 1)
    board.pull_began("chat", 2)
    board.pull_ended("chat", None, 3)
    board.decided({"chat": Wait("no room", ("other",))}, (), 4)
    assert state(board, 4) == "offline"


def test_nobody_asks_any_more_after_a_pull(board: Board) -> None:
    board.traffic_report("i1", {"chat": Traffic(0, 1, 0, None, 1.0, 0)}, 1)
    board.pull_began("chat", 2)
    board.traffic_report("i1", {"chat": Traffic(0, 0, 0, None)}, 3)
    assert state(board, 3) == "pulling", "a pull outlives its client"
    board.pull_ended("chat", None, 4)
    assert state(board, 4) == "offline"


# Where the files are.


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (S.PULLING, set()),
        (S.STARTING, {"n1"}),
        (S.WARMING, {"n1"}),
        (S.READY, {"n1", "n2"}),
        (S.UNLOADING, set()),
        (S.ERROR, set()),
    ],
)
def test_a_replica_that_starts_its_engine_has_the_files(state: S, expected: set[str]) -> None:
    """Those of further stages must have them, too, once the engine answers."""
    board = board_of(max_replicas=2)
    board.replica_news(news(1, state, node="n1", further=("n2",), error=FAILED), 1.0)
    assert homes(board) == expected


def test_what_a_look_finds_stands_until_the_next_one(board: Board) -> None:
    board.files_found("n1", {"chat"})
    board.files_found("n2", {"chat", "of another configuration"})
    assert homes(board) == {"n1", "n2"}
    board.files_found("n1", set())
    assert homes(board) == {"n2"}


def test_where_the_files_are_is_told_of_slots_that_may_start(board: Board) -> None:
    board.files_found("n2", {"chat"})
    board.replica_news(news(1, S.READY, node="n1"), 1.0)
    assert homes(board) == set()
    board.replica_news(news(2, S.OFFLINE, node="n1"), 2.0)
    assert homes(board) == {"n1", "n2"}


def test_the_files_of_a_node_go_with_it(board: Board) -> None:
    board.files_found("n1", {"chat"})
    board.files_found("n2", {"chat"})
    board.nodes_live({"n2", "n3"})
    assert homes(board) == {"n2"}


def test_the_policy_hears_of_every_node_of_a_replica(board: Board) -> None:
    board.replica_news(news(1, S.READY, node="n2", further=("n1", "n2")), 1.0)
    [replica] = board.sightings()["chat"].replicas
    assert (replica.node, replica.further) == ("n2", ("n1", "n2"))
    assert record(board)["nodes"] == ["n1", "n2"]
