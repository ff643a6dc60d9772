"""One line of JSON for each request, written in batches.

Through `logging`, one by one, a line cost 50 us of CPU: a third of what the ingress spends on a short request.
"""

import asyncio
import json
import time
from collections.abc import Callable

from starlette.types import Scope

from serve_app.logs import TIME_FORMAT

BATCH_S = 0.25
"""A line is in the file at the latest so long after its request; a killed ingress loses the last ones."""
SHOWN_PATH = 1024


class AccessLog:
    """`write` takes some lines. Lives on one event loop."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lines: list[str] = []
        self._second, self._shown_second = 0, ""

    def note(self, scope: Scope, method: str, request_id: str, status: int, seconds: float) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(BATCH_S, self.flush)
        slot, path = json.dumps(scope.get("slot")), json.dumps(scope["path"][:SHOWN_PATH])
        self._lines.append(
            f'{{"time": "{self._now()}", "level": "info", "logger": "hal0.access", "message": "request", '
            f'"request_id": {json.dumps(request_id)}, "method": "{method}", "path": {path}, "slot": {slot}, '
            f'"status": {status}, "ms": {seconds * 1000:.2f}}}'
        )

    def flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._write("\n".join(lines))

    def _now(self) -> str:
        """As all of the project's logs show it; made once a second."""
        if (second := int(time.time())) != self._second:
            self._second, self._shown_second = second, time.strftime(TIME_FORMAT, time.localtime(second))
        return self._shown_second
