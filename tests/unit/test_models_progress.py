"""What a pull says of itself."""

import pytest

from providers.pulling import PullProgress
from serve_app.models.progress import Meter
from serve_app.models.sizes import shown_bytes


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_files_add_up_and_a_rate_needs_time(clock: Clock) -> None:
    seen: list[PullProgress] = []
    meter = Meter(seen.append, clock)
    meter.expect("a", 1000)
    meter.expect("b", 3000)
    meter.jump("a", 0)
    for second in range(1, 5):
        clock.now = second
        meter.at("a", 250 * second)
    assert seen[0] == PullProgress(250, 4000, 250.0, 15.0, "a")
    assert seen[-1] == PullProgress(1000, 4000, 250.0, 12.0, "a")
    meter.at("b", 2000)
    assert seen[-1].bytes_done == 1000
    meter.finish()
    assert seen[-1] == PullProgress(3000, 4000, None, None, "b")


def test_what_was_there_before_is_no_part_of_the_rate(clock: Clock) -> None:
    seen: list[PullProgress] = []
    meter = Meter(seen.append, clock)
    meter.expect("a", 1000)
    meter.jump("a", 600)
    clock.now = 1
    meter.at("a", 800)
    assert seen == [PullProgress(800, 1000, 200.0, 1.0, "a")]


def test_an_unknown_size_gives_no_total(clock: Clock) -> None:
    seen: list[PullProgress] = []
    meter = Meter(seen.append, clock)
    meter.expect("a", 1000)
    meter.expect("b", None)
    meter.jump("a", 0)
    clock.now = 1
    meter.at("a", 500)
    assert seen == [PullProgress(500, None, 500.0, None, "a")]


def test_it_speaks_four_times_a_second_at_most(clock: Clock) -> None:
    seen: list[PullProgress] = []
    meter = Meter(seen.append, clock)
    meter.expect("a", None)
    for step in range(1000):
        clock.now = step / 100
        meter.at("a", step)
    assert 30 <= len(seen) <= 41


def test_a_stall_shows_as_a_rate_that_falls(clock: Clock) -> None:
    seen: list[PullProgress] = []
    meter = Meter(seen.append, clock)
    meter.expect("a", 10_000)
    meter.jump("a", 0)
    clock.now = 1
    meter.at("a", 1000)
    assert seen[-1].bytes_per_second == 1000.0
    for step in range(1, 20):
        clock.now = 1 + step / 2
        meter.tick()
    assert (seen[-1].bytes_per_second, seen[-1].eta_seconds) == (0.0, None)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (4.1 * 2**30, "4.1 GiB"), (2**52, "4096.0 TiB")],
)
def test_bytes_for_people(count: float, shown: str) -> None:
    assert shown_bytes(count) == shown
