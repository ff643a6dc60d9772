"""What plain `serve run` does without, said by the application itself when Serve builds it."""

import logging
import os
from collections.abc import Mapping

from serve_app.launch.record import MARK

logger = logging.getLogger("hal0")

GAIN = (
    "This is plain `serve run`: every feature works. `hal0 up CONFIG` would answer requests without Serve's proxy in "
    "between, start slots in workers that are warm, run engines at normal priority, and leave nothing when it stops."
)


def advise_plain_serve(environ: Mapping[str, str] = os.environ) -> None:
    """One line, unless `hal0 up` has started this Ray."""
    if MARK not in environ:
        logger.warning(GAIN)
