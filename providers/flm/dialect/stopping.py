"""Stop strings, which FastFlowLM does not know: the text before the first of them, as it comes in pieces. Pure."""

from pydantic import JsonValue

from providers.openai.checks import array_up_to, string_or_strings, text_up_to

MOST_STOPS = 16
"""OpenAI allows 4. Each is searched for in the slot's own process, which serves all of its clients."""
LONGEST_STOP = 1000
"""Characters."""
_few, _short = array_up_to(MOST_STOPS), text_up_to(LONGEST_STOP)


def check_stops(param: str, value: JsonValue) -> None:
    """A string or several. Raises `InvalidRequest`."""
    if isinstance(value, list):
        _few(param, value)
        for i, stop in enumerate(value):
            _short(f"{param}[{i}]", stop)
    else:
        string_or_strings(param, value)
        _short(param, value)


class Stopper:
    """Holds back only what may be the beginning of a stop string."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._searches = [_Search(stop) for stop in stops]
        self._held = ""
        self.hit = False
        """One came; the text after it is dropped."""

    def feed(self, piece: str) -> str:
        """What may go to the client by now."""
        if self.hit:
            return ""
        text = self._held + piece
        ends = [(search, end) for search in self._searches if (end := search.feed(piece)) is not None]
        if ends:
            begin = len(self._held) + min(end - len(search.stop) for search, end in ends)
            self.hit, self._held = True, ""
            return text[:begin]
        kept = max((search.begun for search in self._searches), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def flush(self) -> str:
        """What was held back, since nothing follows it."""
        held, self._held = self._held, ""
        return held


class _Search:
    """Looks at each character once, whatever came before: https://en.wikipedia.org/wiki/Knuth-Morris-Pratt_algorithm"""

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.begun = 0
        """How many of the last characters are the first of the stop string, at most all but one."""
        self._borders = [0]
        """For each of its beginnings, how long a shorter one is that it ends with."""
        for character in stop[1:]:
            self._borders.append(self._next(self._borders[-1], character))

    def feed(self, piece: str) -> int | None:
        """Where in the piece the string ends for the first time; nothing may follow then."""
        for place, character in enumerate(piece):
            self.begun = self._next(self.begun, character)
            if self.begun == len(self.stop):
                return place + 1
        return None

    def _next(self, begun: int, character: str) -> int:
        while begun and self.stop[begun] != character:
            begun = self._borders[begun - 1]
        return begun + (self.stop[begun] == character)
