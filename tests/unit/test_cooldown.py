from serve_app.cooldown import Cooldown


def test_doubles_to_five_minutes_and_is_reset_by_success() -> None:
    cooldown = Cooldown()
    assert [cooldown.failed(0.0) for _ in range(7)] == [10, 20, 40, 80, 160, 300, 300]
    assert cooldown.remaining(100.0) == 200
    assert cooldown.remaining(301.0) == 0
    cooldown.succeeded()
    assert cooldown.remaining(0.0) == 0
    assert cooldown.failed(0.0) == 10
