"""What can go wrong between a Hub and its client."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 64 * 1024
_CHUNKS_PER_SECOND = 20


@dataclass(slots=True)
class Fault:
    """What goes wrong with a file. `status` and `hang` strike every request, the rest strikes the body of a GET.

    `times` is how many requests it strikes before it is over; None: all.
    """

    status: int | None = None
    retry_after_s: int | None = None
    hang: bool = False
    bytes_per_second: float | None = None
    cut_after: int | None = None
    """Bytes after which the connection closes."""
    stall_after: int | None = None
    """Bytes after which nothing more comes while the hub lives."""
    ignores_range: bool = False
    """The whole file, whatever part was asked for."""
    corrupt: bool = False
    """The right number of wrong bytes."""
    times: int | None = None

    @property
    def needs_body(self) -> bool:
        """Whether the fault shows only where a body is sent."""
        return self.status is None and not self.hang


def struck_body(path: Path, start: int, stop: int, fault: Fault, closing: threading.Event) -> Iterator[bytes]:
    """A file's bytes from `start` to `stop` as the fault lets them through; ends early if it cuts them off."""
    limits = [start + limit for limit in (fault.cut_after, fault.stall_after) if limit is not None]
    end = min([stop, *limits])
    pace = fault.bytes_per_second
    size = _CHUNK if pace is None else max(1, min(_CHUNK, int(pace / _CHUNKS_PER_SECOND)))
    with path.open("rb") as content:
        content.seek(start)
        while start < end and not closing.is_set():
            began = time.monotonic()
            chunk = content.read(min(size, end - start))
            yield bytes(byte ^ 0xFF for byte in chunk) if fault.corrupt else chunk
            start += len(chunk)
            if pace is not None:
                closing.wait(max(0.0, len(chunk) / pace - (time.monotonic() - began)))
    if start < stop and fault.stall_after is not None and fault.cut_after is None:
        closing.wait()
