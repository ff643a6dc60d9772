"""How long a slot that has failed is left alone."""

from serve_app.cooldown import Cooldown


def pauses(cooldown: Cooldown, failures: int) -> list[float]:
    found = []
    for _ in range(failures):
        cooldown.failed(0.0)
        found.append(cooldown.remaining(0.0))
    return found


def test_pauses_double_to_five_minutes_and_a_success_resets_them() -> None:
    cooldown = Cooldown()
    assert pauses(cooldown, 7) == [10, 20, 40, 80, 160, 300, 300]
    cooldown.succeeded()
    assert cooldown.remaining(0.0) == 0
    assert pauses(cooldown, 2) == [10, 20]


def test_the_next_try_is_a_time_and_comes_nearer() -> None:
    cooldown = Cooldown()
    assert cooldown.next_try is None
    cooldown.failed(1000.0)
    assert cooldown.next_try == 1010.0
    assert [cooldown.remaining(now) for now in (1000.0, 1004.0, 1010.0, 2000.0)] == [10, 6, 0, 0]
    cooldown.succeeded()
    assert cooldown.next_try is None


def test_a_failure_long_after_the_last_one_still_doubles() -> None:
    cooldown = Cooldown()
    cooldown.failed(0.0)
    cooldown.failed(5000.0)
    assert cooldown.remaining(5000.0) == 20
