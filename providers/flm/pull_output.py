"""What `flm pull` and `flm check` write, as it comes. Pure.

The texts are from FastFlowLM's src/pull/model_downloader.cpp and download_model.cpp. A megabyte there is 2^20 bytes. A
line that shows how far a file is gets written over; of a file that is resumed it counts what is still to come alone.
"""

import codecs
import re
from collections import deque

MEGABYTE = 1 << 20
LAST_LINES = 8

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ENDS = re.compile(r"[\r\n]+")
_NAME = re.compile(r"\[FLM\]\s+Name: (\S+)")
_TOTAL = re.compile(r"\[FLM\]\s+Files to download \(([0-9.]+) MB\)")
_LISTED = re.compile(r"\s+- (.+) \(([0-9.]+) MB\)")
_FILE = re.compile(r"\[FLM\]\s+Downloading (\d+)/(\d+): (.+)")
_SHARE = re.compile(r"Downloading:\s*[0-9.]+%\s*\(([0-9.]+)\s*MB / ([0-9.]+)\s*MB\)")
_ATTEMPT = re.compile(r"\[FLM\]\s+Download failed \(attempt")
_FILE_DONE = re.compile(r"\[FLM\]\s+Download completed:")
_PULLED = re.compile(r"\[FLM\]\s+Model downloaded successfully!")
_CHECKED = re.compile(r"\[FLM\]\s+Model check completed successfully")
_UNCHECKED = re.compile(r"Exception during file verification")
_NO_LIST = re.compile(r"Error building download list")
_TOO_NEW = re.compile(r"\[WARNING\]\s+(Local model version: .+)")
_REASONS = tuple(
    re.compile(pattern)
    for pattern in (r"(CURL error: .+)", r"(Hash not matched!)", r"(Failed to .+)", r"\[ERROR\]\s+(.+)", r"(Error: .+)")
)
_NO_NETWORK = re.compile(r"resolve host|connect to server|Network is unreachable", re.IGNORECASE)
_NO_ROOM = re.compile(r"Failed writing|No space left|Failed to open file for writing", re.IGNORECASE)


class PullOutput:
    """Feed it the bytes; it knows how far the command is, and afterwards how that ended."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._sizes: dict[str, int] = {}
        self._finished: set[str] = set()
        self._reasons: dict[int, str] = {}
        self._total: int | None = None
        self._within = 0
        self.folder = ""
        """The model's, under `models/`; empty if it was not told."""
        self.file = ""
        self.counted = False
        """Whether it was told how much of `file` has come."""
        self.pulled = self.checked = self.unchecked = False
        self.without_network = False
        self.too_new = ""

    def feed(self, piece: bytes) -> None:
        *lines, self._rest = _ENDS.split(self._rest + self._decoder.decode(piece))
        for line in lines:
            self._read(_ANSI.sub("", line))
        # A line that shows how far it is ends when the next one begins, a second later.
        self._read_share(_ANSI.sub("", self._rest))

    def finish(self) -> None:
        self.feed(b"\n")

    @property
    def bytes_total(self) -> int | None:
        """Of the files that were to come when the command began; None before that is told."""
        return self._total

    @property
    def bytes_done(self) -> int:
        """Of those."""
        done = sum(self._sizes.get(file, 0) for file in self._finished) + self._within
        return done if self._total is None else min(done, self._total)

    @property
    def files(self) -> tuple[str, ...]:
        """Those that were to come."""
        return tuple(self._sizes)

    @property
    def reason(self) -> str:
        """Why it failed, in the program's own words: the most telling line, or else the last ones."""
        return self._reasons[min(self._reasons)] if self._reasons else " / ".join(self._last)

    @property
    def without_room(self) -> bool:
        return any(_NO_ROOM.search(reason) for reason in self._reasons.values())

    def _read(self, line: str) -> None:
        if not line.strip():
            return
        self._last.append(line.strip())
        if found := _NAME.search(line):
            self.folder = found[1]
        elif found := _TOTAL.search(line):
            self._total = _bytes(found[1])
        elif found := _LISTED.fullmatch(line):
            self._sizes[found[1]] = _bytes(found[2])
        elif found := _FILE.search(line):
            self.file, self.counted, self._within = found[3], False, 0
        elif _ATTEMPT.search(line):
            self._within = 0
        elif _FILE_DONE.search(line):
            self._finished.add(self.file)
            self._within = 0
        else:
            self._read_share(line)
        self._read_verdict(line)

    def _read_share(self, line: str) -> None:
        if found := _SHARE.search(line):
            now, of = _bytes(found[1]), _bytes(found[2])
            self.counted = True
            self._within = max(0, self._sizes.get(self.file, of) - of) + now

    def _read_verdict(self, line: str) -> None:
        self.pulled |= bool(_PULLED.search(line))
        self.checked |= bool(_CHECKED.search(line))
        self.unchecked |= bool(_UNCHECKED.search(line))
        self.without_network |= bool(_NO_LIST.search(line) or _NO_NETWORK.search(line))
        if found := _TOO_NEW.search(line):
            self.too_new = found[1]
        for rank, pattern in enumerate(_REASONS):
            if found := pattern.search(line):
                self._reasons[rank] = found[1]


def _bytes(megabytes: str) -> int:
    return round(float(megabytes) * MEGABYTE)
