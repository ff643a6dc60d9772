"""One run of `hal0 up`: it starts the driver, tells what is told, and stops all that it has started."""

import os
import queue
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from serve_app.config import ConfigFile
from serve_app.launch.console import Story, complain
from serve_app.launch.derived import derive, has_runtime_env
from serve_app.launch.driver import Driver
from serve_app.launch.environment import driver_environment
from serve_app.launch.leftovers import remove_session
from serve_app.launch.local_server import Follower, LocalServer, Record
from serve_app.launch.news import News
from serve_app.launch.notify import READY, STOPPING, notify
from serve_app.launch.output import ServeLog
from serve_app.launch.record import RunFolder, UpRecord
from serve_app.launch.signals import on_signals
from serve_app.launch.slot_story import SlotStory

START_TIMEOUT_S = 300.0
POLL_S = 0.1
STEPS = {"ray": "Ray is up", "serve": "Serve is up"}


class Failed(Exception):
    """It ended, or never came up; the message says why."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """`resources`: what this machine has beside what is found. `dashboard`: Ray's. `verbose`: print all output."""

    resources: Mapping[str, float]
    dashboard: bool = False
    verbose: bool = False


class Run:
    """One start, from the first process to the last."""

    def __init__(
        self,
        file: ConfigFile,
        options: UpOptions,
        folder: RunFolder,
        record: UpRecord,
        server: LocalServer,
        log: ServeLog,
    ) -> None:
        self.story = Story()
        self._file, self._options, self._folder, self._record = file, options, folder, record
        self._server, self._log = server, log
        self._news: queue.Queue[News | Record] = queue.Queue()
        self._slots = SlotStory()
        self._driver: Driver | None = None
        self._follower = Follower(server, self._news.put)
        self._stopped = False

    def start(self, resources: Mapping[str, float], joins: bool) -> None:
        derived = derive(self._file, os.environ, joins)
        if derived.proxied:
            self.story.add(f"Serve's proxy stays in front of the ingress, because of {derived.proxied}")
        config = self._folder.derived_config(self._file.port)
        derived.write(config)
        flags = {
            "--join": joins,
            "--dashboard": self._options.dashboard,
            "--runtime-envs": has_runtime_env(self._file.document),
            "--verbose": self._options.verbose,
        }
        self._driver = Driver(
            (*(flag for flag, given in flags.items() if given), str(config)),
            driver_environment(
                os.environ, resources, self._record.mark, self._options.dashboard, self._options.verbose
            ),
            self._log,
            self._news.put,
            self._options.verbose,
        )

    def serve(self) -> NoReturn:
        """Raises `Failed`, or what a signal raises."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.answers():
            self._hear(POLL_S)
            if time.monotonic() > deadline:
                raise Failed(f"no answer within {START_TIMEOUT_S:g} s")
        names = ", ".join(slot.name for slot in self._file.serving.slots)
        self.story.add(f"hal0 answers on {self._record.url} (slots: {names}). Ctrl-C stops it.")
        notify(READY)
        self._follower.start()
        while True:
            self._hear(1.0)

    def stop(self, clean: bool) -> None:
        """Only once, and not cut short by a second signal. `clean`: nobody will want to read Ray's own logs."""
        on_signals(signal.SIG_IGN)
        if self._stopped:
            return
        self._stopped = True
        notify(STOPPING)
        self._follower.stop()
        if self._driver is not None:
            self._driver.stop()
        if clean:
            remove_session(self._record.session)
        self._folder.forget(self._record)
        self._log.close()

    def explain(self, failure: Failed) -> None:
        """Why there is nothing to serve, and where more of it is."""
        complain(f"hal0: {failure}")
        for line in self._log.last_lines:
            complain(f"  | {line}")
        complain(f"All output is in {self._log.path}" + self._where_ray_logs() + ".")

    def _where_ray_logs(self) -> str:
        return f", the logs of Ray and Serve in {self._record.session}/logs" if self._record.session else ""

    def _hear(self, wait_s: float) -> None:
        """What has happened since, or happens within `wait_s`."""
        assert self._driver is not None
        ended = self._driver.exit_code
        if ended is not None:
            self._driver.hear_it_out()
        try:
            self._tell(self._news.get(timeout=0 if ended is not None else wait_s))
            while True:
                self._tell(self._news.get_nowait())
        except queue.Empty:
            if ended is not None:
                raise Failed(f"Ray and Serve have ended, with exit code {ended}") from None

    def _tell(self, news: News | Record) -> None:
        match news:
            case News(step="failed", text=why):
                raise Failed(why)
            case News(step=step, text=text):
                if step == "ray":
                    self._record = self._folder.note_session(self._record, text or None)
                self.story.add(STEPS[step])
            case view:
                for line in self._slots.lines(view):
                    self.story.add(line)
