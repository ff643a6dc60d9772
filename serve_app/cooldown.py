"""After a failed load: how long until the next try. Pure, with the clock as an argument."""

FIRST_S = 10.0
LONGEST_S = 300.0


class Cooldown:
    """Doubles from 10 s to 5 min with each failure in a row; a success resets it."""

    def __init__(self) -> None:
        self._next_s = FIRST_S
        self._until = 0.0

    def failed(self, now: float) -> float:
        """Note a failure; seconds until the next try is allowed."""
        wait_s = self._next_s
        self._until = now + wait_s
        self._next_s = min(self._next_s * 2, LONGEST_S)
        return wait_s

    def succeeded(self) -> None:
        self._next_s, self._until = FIRST_S, 0.0

    def remaining(self, now: float) -> float:
        return max(0.0, self._until - now)
