"""The bytes of one file: resumed, counted, and verified before the file is seen."""

import os
import re
from collections.abc import Mapping
from threading import Event
from typing import BinaryIO

from providers.pulling import ModelUnavailable, PullCancelled
from serve_app.models.partial import Record
from serve_app.models.patience import Patience
from serve_app.models.progress import Meter
from serve_app.models.remote import Remote
from serve_app.models.room import FULL, require_space
from serve_app.models.transport import Answer, Failure, Kind, Transport

READ_BYTES = 1 << 20
SYNC_BYTES = 64 << 20
"""Written out so often, so that the end need not wait for gigabytes: nothing could interrupt that."""


class Transfer:
    """For who holds the file's lock."""

    def __init__(self, remote: Remote, transport: Transport, meter: Meter, cancelled: Event) -> None:
        self._remote, self._transport, self._meter, self._cancelled = remote, transport, meter, cancelled
        self._partial = remote.partial
        record = self._partial.record() or Record(remote.source)
        self._size = remote.size if remote.size is not None else record.size
        self._validator = None if remote.immutable else record.validator
        self._sum = remote.checksum.begin(self._size) if remote.checksum else None
        self._offset = 0
        self._ended = False
        self._meter.expect(remote.name, self._size)

    def run(self) -> None:
        try:
            self._fill()
        except OSError as error:
            if error.errno in FULL:
                self._partial.remove()
            raise
        finally:
            if not self._whole() and not self._partial.size:
                self._partial.remove()
        self._verify()
        self._partial.become(self._remote.target)

    def _fill(self) -> None:
        with open(self._partial.path, "a+b") as file:
            self._take_up(file)
            self._write_record()
            patience, counted = Patience(self._cancelled), self._offset
            while not self._whole():
                try:
                    self._try(file)
                except Failure as failure:
                    came, counted = self._offset - counted, max(counted, self._offset)
                    self._spend(patience, failure, came)
            _sync(file)

    def _spend(self, patience: Patience, failure: Failure, came: int) -> None:
        try:
            patience.spend(failure, came)
        except Failure as final:
            raise self._remote.unavailable(final) from final

    def _whole(self) -> bool:
        return self._ended or (self._size is not None and self._offset == self._size)

    def _take_up(self, file: BinaryIO) -> None:
        """Go on from what an earlier pull left, if that can be a beginning of this file."""
        left = self._partial.size
        trusted = self._remote.immutable or self._validator is not None or self._remote.checksum is not None
        if not trusted or (self._size is not None and left > self._size):
            self._start_over(file)
            return
        file.seek(0)
        while self._sum is not None and (piece := file.read(READ_BYTES)):
            self._sum.update(piece)
            if self._cancelled.is_set():
                raise PullCancelled
        self._offset = left
        self._meter.jump(self._remote.name, left)

    def _start_over(self, file: BinaryIO) -> None:
        file.truncate(0)
        self._offset = 0
        self._sum = self._remote.checksum.begin(self._size) if self._remote.checksum else None
        self._meter.jump(self._remote.name, 0)

    def _try(self, file: BinaryIO) -> None:
        headers = dict(self._remote.headers)
        if self._offset:
            headers["Range"] = f"bytes={self._offset}-"
            if self._validator:
                headers["If-Range"] = self._validator
        with self._transport.get(self._remote.url, headers) as answer:
            if not self._accept(answer, file):
                return
            self._require_space()
            answer.pour(lambda piece: self._take(piece, file))
        if self._size is not None and self._offset < self._size:
            raise Failure(Kind.CUT, f"ended {self._size - self._offset} bytes early")
        self._ended = True

    def _accept(self, answer: Answer, file: BinaryIO) -> bool:
        """Make the file end where the body of `answer` begins. False: the body is of no use, or not needed."""
        start, total = answered_range(answer)
        if answer.status == 416 and total == self._offset:
            self._size, self._ended = total, True
            return False
        if answer.status in (206, 416) and not self._is_the_rest(answer, start, total):
            self._start_over(file)
            raise Failure(Kind.CUT, "did not have the rest of the file; it starts over")
        if answer.status != 206:
            self._start_over(file)
            self._size = self._remote.size
        if self._size is None:
            self._size = total
        if not self._remote.immutable:
            self._validator = validator(answer.headers)
        self._meter.expect(self._remote.name, self._size)
        self._write_record()
        return True

    def _is_the_rest(self, answer: Answer, start: int, total: int | None) -> bool:
        known = None in (self._size, total) or self._size == total
        return start == self._offset and known and self._validator in (None, validator(answer.headers))

    def _take(self, piece: bytes, file: BinaryIO) -> None:
        file.write(piece)
        # Who waits for this pull reads its progress from the file's size.
        file.flush()
        if self._offset // SYNC_BYTES != (self._offset + len(piece)) // SYNC_BYTES:
            _sync(file)
        self._offset += len(piece)
        if self._sum is not None:
            self._sum.update(piece)
        if self._size is not None and self._offset > self._size:
            self._start_over(file)
            raise Failure(Kind.CUT, f"sent more than the {self._size} bytes of the file")
        self._meter.at(self._remote.name, self._offset)

    def _write_record(self) -> None:
        self._partial.write_record(Record(self._remote.source, self._size, self._validator))

    def _require_space(self) -> None:
        if self._size is not None:
            require_space(self._partial.path.parent, self._size - self._offset, f"'{self._remote.source}'")

    def _verify(self) -> None:
        checksum = self._remote.checksum
        if self._sum is None or checksum is None or self._sum.hexdigest() == checksum.expected:
            return
        self._partial.remove()
        raise ModelUnavailable(
            "checksum_mismatch",
            f"'{self._remote.source}' came with {checksum.kind} {self._sum.hexdigest()} instead of "
            f"{checksum.expected}; the file was removed. Try again; if it stays so, the source or its sum is wrong.",
        )


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def answered_range(answer: Answer) -> tuple[int, int | None]:
    """Where the body begins in the file, and the size of the whole file if that is told, in bytes."""
    if answer.status == 200:
        length = answer.headers.get("content-length", "")
        encoded = answer.headers.get("content-encoding", "identity") != "identity"
        return 0, int(length) if length.isdigit() and not encoded else None
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("content-range", ""))
    if match is None:
        return -1, None
    return int(match[1] or -1), None if match[2] == "*" else int(match[2])


def validator(headers: Mapping[str, str]) -> str | None:
    """What `If-Range` may carry: a strong ETag, else a date."""
    etag = headers.get("etag", "")
    return etag if etag.startswith('"') else headers.get("last-modified")
