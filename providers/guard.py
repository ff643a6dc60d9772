"""Runs one engine so that nothing of it outlives its owner.

Stand-alone: `python -I -S guard.py SIGNAL GRACE_S [CLEANUP...] -- ARGV...`.

The owner holds the write end of this process's stdin. However the owner goes (stop, crash, kill -9), the pipe closes;
then the engine's whole process group is asked to stop by SIGNAL, killed after GRACE_S seconds, orphans of it are
reaped, and CLEANUP (an argv, perhaps empty) runs. If the guard itself is killed, the kernel kills the engine.

It imports next to nothing because every engine waits for it: `_signal` is `signal` without its enumerations, which take
a third of the guard's start.
"""

import _signal as signal  # type: ignore[import-not-found]
import ctypes
import os
import select
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
EXEC_FAILED = 127
CLEANUP_TIMEOUT_S = 30
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

libc = ctypes.CDLL(None, use_errno=True)


def spawn(argv: list[str]) -> int:
    """Fork and exec the engine in its own process group; its pid."""
    guard = os.getpid()
    # A signal that comes before the engine is itself would be the guard's, and lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        try:
            os.setpgid(pid, pid)  # the child does the same; whoever is first wins
        except OSError:
            pass
        return pid
    try:
        os.setpgid(0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(EXEC_FAILED)
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"cannot start {argv[0]!r}: {error.strerror}\n".encode())
    os._exit(EXEC_FAILED)


def reap(engine: int) -> int | None:
    """Collect every exited child; the engine's wait status once it has exited."""
    status = None
    try:
        while (exited := os.waitpid(-1, os.WNOHANG))[0]:
            if exited[0] == engine:
                status = exited[1]
    except ChildProcessError:
        pass
    return status


def wait_for_end(engine: int, wakeup: int) -> int | None:
    """Block until the engine exits (its status) or the guard is told to stop (None)."""
    while True:
        readable, _, _ = select.select([0, wakeup], [], [])
        if wakeup in readable:
            received = os.read(wakeup, 64)
            if (status := reap(engine)) is not None:
                return status
            if any(number in received for number in STOP_SIGNALS):
                return None
        elif not os.read(0, 64):
            return None


def signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def stop(engine: int, number: int, grace_s: float) -> int:
    """Ask, wait, kill; the engine's wait status."""
    signal_group(engine, number)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline:
        if (status := reap(engine)) is not None:
            return status
        time.sleep(0.005)
    signal_group(engine, signal.SIGKILL)
    return os.waitpid(engine, 0)[1]


def kill_descendants(engine: int) -> None:
    """Kill what is left: the engine's group, and whatever left the group and was handed to us as its new parent."""
    signal_group(engine, signal.SIGKILL)
    while children := child_pids():
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)


def child_pids() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as listing:
        return [int(pid) for pid in listing.read().split()]


def run_cleanup(argv: list[str]) -> None:
    """Run it to its end, but not for ever."""
    pid = spawn(argv)
    deadline = time.monotonic() + CLEANUP_TIMEOUT_S
    while reap(pid) is None:
        if time.monotonic() > deadline:
            signal_group(pid, signal.SIGKILL)
        time.sleep(0.01)


def main() -> int:
    separator = sys.argv.index("--")
    stop_signal, grace_s, cleanup = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:separator]
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writer)
    for number in (*STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    engine = spawn(sys.argv[separator + 1 :])
    status = wait_for_end(engine, reader)
    if status is None:
        status = stop(engine, stop_signal, grace_s)
    kill_descendants(engine)
    if cleanup:
        run_cleanup(cleanup)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os._exit(main())
