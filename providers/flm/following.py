"""Long commands of `flm`, followed while they run and ended with whoever runs them."""

import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping
from threading import Event

from providers.base import Command
from providers.guarding import guarded
from providers.pulling import PullCancelled

QUIET_S = 0.1
PIECE_BYTES = 1 << 16
END_S = 35.0
"""Longer than the guard takes to remove a container."""


def follow(
    command: Command, environment: Mapping[str, str], heard: Callable[[bytes], None], cancelled: Event, lock: int
) -> int:
    """The exit code. `heard` gets what the command writes, stderr included, and b"" now and then while it writes
    nothing; the command is ended if that raises. `lock`: a descriptor that stays open until the command has ended, even
    if this process is killed. Blocks. Raises `PullCancelled`.

    Its guard ends it with this process. The pipe that `flm pull` writes to would not: curl ignores SIGPIPE while it
    transfers, and most of a pull is one transfer.
    """
    process = subprocess.Popen(
        guarded(command.argv, signal.SIGKILL, 0, command.cleanup),
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=(lock,),
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        output = process.stdout.fileno()
        while piece := _next_piece(output, process, heard, cancelled):
            heard(piece)
        # Its output may be closed a moment before its end.
        while process.poll() is None:
            heard(b"")
            if cancelled.wait(QUIET_S):
                raise PullCancelled
        return process.returncode
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _next_piece(
    output: int, process: "subprocess.Popen[bytes]", heard: Callable[[bytes], None], cancelled: Event
) -> bytes:
    """Empty: there is no more."""
    while not cancelled.is_set():
        if select.select([output], [], [], QUIET_S)[0]:
            return os.read(output, PIECE_BYTES)
        if process.poll() is not None:
            return b""
        heard(b"")
    raise PullCancelled
