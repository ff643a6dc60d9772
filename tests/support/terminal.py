"""A terminal: `python -m tests.support.terminal COMMAND ARGS...` runs it in one, which closes when this is killed."""

import contextlib
import os
import pty
import sys
from pathlib import Path


def main() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(Path(sys.executable).with_name(sys.argv[1]), sys.argv[1:])
    with contextlib.suppress(OSError):
        while shown := os.read(terminal, 4096):
            os.write(1, shown)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
