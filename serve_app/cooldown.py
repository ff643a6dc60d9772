"""After a failed load: when the next try is allowed. Pure; times are Unix seconds."""

FIRST_S = 10.0
LONGEST_S = 300.0


class Cooldown:
    """Doubles from 10 s to 5 min with each failure in a row; a success resets it."""

    def __init__(self) -> None:
        self._next_s = FIRST_S
        self.next_try: float | None = None
        """None: now."""

    def failed(self, now: float) -> None:
        self.next_try = now + self._next_s
        self._next_s = min(self._next_s * 2, LONGEST_S)

    def succeeded(self) -> None:
        self._next_s, self.next_try = FIRST_S, None

    def remaining(self, now: float) -> float:
        """Seconds until the next try; 0: now."""
        return 0.0 if self.next_try is None else max(0.0, self.next_try - now)
