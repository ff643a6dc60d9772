"""The process that runs Ray and Serve, under a guard: it dies with us however we die."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from providers.guarding import guarded
from serve_app.launch.console import say
from serve_app.launch.news import News, news_in
from serve_app.launch.output import ServeLog

STOP_GRACE_S = 30.0
PROGRAM = ("-u", "-m", "serve_app.run")
LAST_WORDS_S = 2.0
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Serve writes them to files and pipes, too."""


class Driver:
    """What it tells goes to `hear`, from another thread; what it prints to `log`, and if `verbose` to the terminal."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: ServeLog,
        hear: Callable[[News], None],
        verbose: bool,
    ) -> None:
        self._log, self._hear, self._verbose = log, hear, verbose
        self._popen = subprocess.Popen(
            guarded((sys.executable, *PROGRAM, *arguments), signal.SIGINT, STOP_GRACE_S),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            # Ctrl-C is for us alone.
            start_new_session=True,
        )
        assert self._popen.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._popen.stdout,), daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    def stop(self) -> None:
        """Let the guard end everything, and wait for that."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.wait()
        self.hear_it_out()

    def hear_it_out(self) -> None:
        """Wait for its last words."""
        self._reader.join(LAST_WORDS_S)

    def _read(self, output: IO[bytes]) -> None:
        for raw in output:
            line = COLOURS.sub("", raw.decode(errors="replace").rstrip("\n"))
            if (news := news_in(line)) is not None:
                self._hear(news)
                continue
            self._log.add(line)
            if self._verbose:
                say(line)
