"""How far a load has come: only what is known is told."""

from typing import Any

import pytest

from serve_app.progress import Progress, loading_object, of_bytes, told_in_words

FULL = Progress(0.25, 256 * 2**20, 1024 * 2**20, 10.0, 90.4)
WAITING = {"reason": "needs 2 GiB; big is busy", "blockers": ["big"], "hopeless": False}


def view(state: str, progress: Progress | None = None, waiting: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": "chat", "state": state, "progress": progress and progress.shown(), "waiting": waiting}


def test_only_known_fields_are_shown() -> None:
    assert Progress().shown() == {}
    assert Progress(0.0, 0).shown() == {"fraction": 0.0, "bytes_done": 0}
    assert FULL.shown().keys() == {"fraction", "bytes_done", "bytes_total", "bytes_per_second", "eta_seconds"}


@pytest.mark.parametrize(
    ("done", "total", "fraction"), [(50, 200, 0.25), (0, 200, 0.0), (50, None, None), (0, 0, None)]
)
def test_bytes_make_a_fraction_where_the_total_is_known(done: int, total: int | None, fraction: float | None) -> None:
    assert of_bytes(done, total, None, None) == Progress(fraction, done, total)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (
            view("pulling", FULL),
            {
                "model": "chat",
                "state": "pulling",
                "progress": 0.25,
                "bytes_done": 256 * 2**20,
                "bytes_total": 1024 * 2**20,
                "eta_seconds": 90.4,
            },
        ),
        (view("warming", Progress(0.5)), {"model": "chat", "state": "warming", "progress": 0.5}),
        (view("starting"), {"model": "chat", "state": "starting", "progress": None}),
        (
            view("offline", waiting=WAITING),
            {"model": "chat", "state": "offline", "progress": None, "waiting": WAITING["reason"]},
        ),
        ({"name": "chat", "state": "offline"}, {"model": "chat", "state": "offline", "progress": None}),
    ],
)
def test_a_client_is_told_what_is_known_and_nothing_is_guessed(seen: dict[str, Any], told: dict[str, Any]) -> None:
    assert loading_object("chat", seen) == told


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        (view("pulling", FULL), "chat is pulling: 25% of 1,024.0 MiB, about 90 s to go"),
        (view("warming", Progress(0.5)), "chat is warming: 50%"),
        (view("warming", Progress(0.0)), "chat is warming: 0%"),
        (view("pulling", Progress(bytes_done=7)), "chat is pulling ..."),
        (view("warming"), "chat is warming ..."),
        (view("offline"), "chat is starting ..."),
        (view("offline", waiting=WAITING), "chat waits: needs 2 GiB; big is busy."),
        ({"name": "chat", "state": "offline"}, "chat is starting ..."),
    ],
)
def test_a_person_who_waits_is_told_in_one_line(seen: dict[str, Any], line: str) -> None:
    assert told_in_words("chat", seen) == line
