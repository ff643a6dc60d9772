"""What the board and the policy leave each other, on a store of our own."""

from collections.abc import Iterator

import pytest

from serve_app import bulletin as module
from serve_app.bulletin import STALE_S, Bulletin, Sightings, Verdict
from serve_app.fleet import Phase, ReplicaSeen, SlotSeen, Wait

SIGHTINGS = Sightings(
    "1000.0",
    7,
    {"chat": SlotSeen((ReplicaSeen("n1", Phase.READY),), in_flight=2, needs={"memory": 5.0})},
    {"n1": 3.5},
)
VERDICT = Verdict({"chat": Wait("no room", ("other",), hopeless=True)}, frozenset({"other"}))


class Store:
    """Ray's key-value store, as far as it is used."""

    def __init__(self) -> None:
        self.values: dict[tuple[bytes, bytes], bytes] = {}

    def _internal_kv_put(self, key: bytes, value: bytes, namespace: bytes) -> None:
        self.values[namespace, key] = value

    def _internal_kv_get(self, key: bytes, namespace: bytes) -> bytes | None:
        return self.values.get((namespace, key))


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    store = Store()
    monkeypatch.setattr(module, "_kv", lambda: store)
    yield store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_each_reads_what_the_other_wrote() -> None:
    board, policy = Bulletin("hal0"), Bulletin("hal0")
    assert (policy.sightings(), board.verdict(), board.pins()) == (None, None, {})
    board.post_sightings(SIGHTINGS)
    policy.post_verdict(VERDICT)
    board.post_pins({"chat": False})
    assert (policy.sightings(), board.verdict(), policy.pins()) == (SIGHTINGS, VERDICT, {"chat": False})


def test_applications_do_not_read_each_others() -> None:
    Bulletin("hal0").post_verdict(VERDICT)
    assert Bulletin("other").verdict() is None


def test_a_board_that_has_fallen_silent_is_not_believed(clock: list[float]) -> None:
    board, policy = Bulletin("hal0"), Bulletin("hal0")
    board.post_sightings(SIGHTINGS)
    assert policy.sightings() == SIGHTINGS
    clock[0] += STALE_S
    assert policy.sightings() == SIGHTINGS
    clock[0] += 0.1
    assert policy.sightings() is None
    board.post_sightings(Sightings("1000.0", 8, {}, {}))
    assert policy.sightings() == Sightings("1000.0", 8, {}, {}), "until it speaks again"
