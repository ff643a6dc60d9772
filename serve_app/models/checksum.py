"""What the bytes of a file must add up to."""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Checksum:
    """`git-sha1` is the name that git gives to a file's content: the sha1 of its size and its bytes."""

    kind: Literal["sha256", "git-sha1"]
    expected: str

    @classmethod
    def of_etag(cls, etag: str) -> "Checksum | None":
        """The Hub's etags: sha256 of a large file, git's name of a small one."""
        if re.fullmatch(r"[0-9a-f]{64}", etag):
            return cls("sha256", etag)
        return cls("git-sha1", etag) if re.fullmatch(r"[0-9a-f]{40}", etag) else None

    def begin(self, size: int | None) -> "hashlib._Hash":
        """An empty sum of a file of `size` bytes."""
        if self.kind == "sha256":
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % (size or 0), usedforsecurity=False)
