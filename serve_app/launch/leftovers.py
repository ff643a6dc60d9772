"""What an `up` that was killed could not put away: its processes, its folder in Ray's, its record. Nothing else's."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from serve_app.launch.processes import end_all, marked
from serve_app.launch.record import MARK, RunFolder, UpRecord

GRACE_S = 10.0
"""Its guard may be stopping it just now, and engines may have containers to remove."""
SESSION = "session_"
LATEST = "session_latest"


def clear(folder: RunFolder) -> Iterator[str]:
    """Put away what every dead `up` of this HAL0_HOME has left; what was found, in words."""
    for record in folder.records():
        if not record.runs:
            yield clear_one(folder, record)


def clear_one(folder: RunFolder, record: UpRecord) -> str:
    count = end_all(lambda: marked(MARK, record.mark), GRACE_S)
    remove_session(record.session)
    folder.forget(record)
    processes = "no process" if not count else "1 process" if count == 1 else f"{count} processes"
    return f"put away what an earlier hal0 on port {record.port} (pid {record.launcher.pid}) had left: {processes}"


def remove_session(session: str | None) -> None:
    """A Ray session's sockets, logs and files, and the link to it if it is the latest one."""
    if session is None or not (path := Path(session)).name.startswith(SESSION) or path.is_symlink():
        return
    latest = path.with_name(LATEST)
    if latest.is_symlink() and latest.resolve() == path.resolve():
        latest.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
