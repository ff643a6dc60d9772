"""Runs one command so that nothing of it outlives its owner.

Stand-alone: `python -I -S leash.py [CLEANUP...] -- ARGV...`.

The owner holds the write end of this process's stdin. However the owner goes (kill -9 included), the pipe closes; then
the command's process group is killed, and CLEANUP (an argv, perhaps empty) runs. If the leash itself is killed, the
kernel kills the command. The pipe that `flm pull` writes to would not end it: curl ignores SIGPIPE while it transfers,
and most of a pull is one transfer.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
EXEC_FAILED = 127
CLEANUP_S = 10

libc = ctypes.CDLL(None, use_errno=True)


def run(argv: list[str], cleanup: list[str]) -> int:
    """The command's exit code, 128 and a signal's number, or EXEC_FAILED."""
    leash = os.getpid()

    def die_with_the_leash() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != leash:
            os._exit(EXEC_FAILED)

    try:
        # This process has one thread, so code between fork and exec is safe.
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=die_with_the_leash)
    except (OSError, subprocess.SubprocessError) as error:
        os.write(2, f"cannot start {argv[0]!r}: {error}\n".encode())
        return EXEC_FAILED
    ended = os.pidfd_open(child.pid)
    readable, _, _ = select.select([0, ended], [], [])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    if ended not in readable and cleanup:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(cleanup, stdin=subprocess.DEVNULL, capture_output=True, timeout=CLEANUP_S)
    code = child.wait()
    return code if code >= 0 else 128 - code


def main() -> int:
    separator = sys.argv.index("--")
    return run(sys.argv[separator + 1 :], sys.argv[1:separator])


if __name__ == "__main__":
    os._exit(main())
