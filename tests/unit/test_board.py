"""The board: what replicas and ingresses say, and the state that follows."""

import pytest

from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app.board import Board, ReplicaNews, Traffic
from serve_app.lifecycle import SlotState as S

SLOT = SlotSpec(name="chat", provider="llama.cpp", model="m.gguf", capabilities=(Capability.CHAT,), idle_after_s=10)


@pytest.fixture
def board() -> Board:
    return Board({"chat": (SLOT, "cpu")}, now=0.0)


def news(number: int, state: S, replica: str = "r1", **more: object) -> ReplicaNews:
    return ReplicaNews("chat", replica, number, state, **more)  # type: ignore[arg-type]


def traffic(in_flight: int, answered: int = 0, last_used: float | None = None) -> dict[str, Traffic]:
    return {"chat": Traffic(in_flight, 0, answered, last_used)}


def state(board: Board, now: float) -> str:
    return str(board.records(now)[0]["state"])


def test_a_whole_life(board: Board) -> None:
    seen = [state(board, 0)]
    for at, step in enumerate((S.STARTING, S.WARMING, S.READY), start=1):
        board.replica_news(news(at, step), at)
        seen.append(state(board, at))
    board.traffic_report("i1", traffic(1), 4)
    seen.append(state(board, 4))
    board.traffic_report("i1", traffic(0, answered=1, last_used=5), 5)
    seen.append(state(board, 5))
    seen.append(state(board, 15))
    board.replica_news(news(9, S.UNLOADING), 16)
    seen.append(state(board, 16))
    board.replica_news(news(10, S.OFFLINE), 17)
    seen.append(state(board, 17))
    assert seen == ["offline", "starting", "warming", "ready", "serving", "ready", "idle", "unloading", "offline"]


def test_idle_is_stable_and_ends_with_a_request(board: Board) -> None:
    board.replica_news(news(1, S.READY), 1)
    assert [state(board, now) for now in (2, 11, 12, 500)] == ["ready", "idle", "idle", "idle"]
    board.traffic_report("i1", traffic(1), 501)
    assert state(board, 501) == "serving"


def test_late_news_is_ignored(board: Board) -> None:
    board.replica_news(news(2, S.READY), 1)
    board.replica_news(news(1, S.STARTING), 1)
    assert state(board, 1) == "ready"


def test_an_error_is_shown_until_the_next_success(board: Board) -> None:
    board.replica_news(news(1, S.ERROR, error={"code": "engine_exited"}), 1)
    assert board.records(1)[0]["last_error"] == {"code": "engine_exited"}
    board.replica_news(news(2, S.READY, load_seconds=0.5), 2)
    assert board.records(2)[0]["last_error"] is None
    assert board.records(2)[0]["load_seconds"] == 0.5


def test_the_replica_that_has_come_furthest_counts(board: Board) -> None:
    board.replica_news(news(1, S.READY, "r1"), 1)
    board.replica_news(news(1, S.STARTING, "r2"), 2)
    assert state(board, 2) == "ready"
    board.reporter_gone("r1", 3)
    assert state(board, 3) == "starting"


def test_a_killed_replica_leaves_nothing_behind(board: Board) -> None:
    board.replica_news(news(1, S.READY), 1)
    board.traffic_report("i1", traffic(3), 2)
    board.reporter_gone("r1", 3)
    assert state(board, 3) == "offline"


def test_a_gone_ingress_takes_its_traffic_along(board: Board) -> None:
    board.replica_news(news(1, S.READY), 1)
    board.traffic_report("i1", traffic(3), 2)
    board.reporter_gone("i1", 3)
    assert (state(board, 3), board.records(3)[0]["in_flight"]) == ("ready", 0)


def test_requests_between_two_reports_are_use(board: Board) -> None:
    board.replica_news(news(1, S.READY), 1)
    board.traffic_report("i1", traffic(0, answered=1, last_used=2), 2)
    assert state(board, 12) == "idle"
    board.traffic_report("i1", traffic(0, answered=5, last_used=13), 13)
    assert state(board, 13) == "ready"
