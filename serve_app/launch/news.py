"""What the process that runs Serve tells `hal0 up` of itself: lines among its output that nothing else writes."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Literal

SIGN = "@hal0-up "
Step = Literal["ray", "serve", "failed"]


@dataclass(frozen=True, slots=True)
class News:
    """`ray`: Ray is up, `text` is its session's folder, empty if it is not ours. `serve`: Serve is up. `failed`:
    nothing comes of it, `text` is why."""

    step: Step
    text: str = ""


def tell(step: Step, text: str = "") -> None:
    """One write, so that it is not torn by what other threads print."""
    os.write(1, f"{SIGN}{json.dumps(asdict(News(step, text)))}\n".encode())


def news_in(line: str) -> News | None:
    """None for a line that is just output."""
    if not line.startswith(SIGN):
        return None
    try:
        return News(**json.loads(line.removeprefix(SIGN)))
    except (ValueError, TypeError):
        return None
