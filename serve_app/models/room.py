"""Room on a disk: asked for before, and missed in the middle."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from providers.pulling import ModelUnavailable
from serve_app.models.sizes import shown_bytes

FULL = (errno.ENOSPC, errno.EDQUOT)
MAKE_ROOM = "Make room (`hal0 models` lists what is stored) or move HAL0_HOME or HF_HOME to a larger disk."


@contextmanager
def storing(source: str, folder: Path) -> Iterator[None]:
    """The disk's errors in the user's terms."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            message = f"The disk of {folder} is full; what had come of '{source}' was removed. {MAKE_ROOM}"
            raise ModelUnavailable("disk_full", message) from error
        message = f"'{source}' cannot be stored in {folder}: {error.strerror or error}."
        raise ModelUnavailable("store_unwritable", message) from error


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raises `ModelUnavailable` where `needed` bytes do not fit on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelUnavailable(
            "disk_full",
            f"{what} needs {shown_bytes(needed)} more, but only {shown_bytes(free)} are free at {folder}. {MAKE_ROOM}",
        )
