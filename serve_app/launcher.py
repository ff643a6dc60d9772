"""`hal0 up`: Ray and Serve in the foreground, told of as they come up, and nothing left when it ends."""

import os
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from serve_app.config import ConfigError, ConfigFile, load_config_file
from serve_app.fit_check import IN_A_FILE, require_fit, this_machine, wants_of
from serve_app.launch.console import say
from serve_app.launch.leftovers import clear
from serve_app.launch.local_server import LocalServer, url_of
from serve_app.launch.output import ServeLog
from serve_app.launch.processes import Process
from serve_app.launch.record import RunFolder, UpRecord
from serve_app.launch.signals import Stopped, on_signals, raise_stopped
from serve_app.launch.up_run import Failed, Run, UpOptions
from serve_app.machine import found_resources
from serve_app.placement import advice_if_unplaceable
from serve_app.security import load_keys, require_closed
from serve_app.settings import load_settings

CONNECT_TIMEOUT_S = 2.0
CURRENT_CLUSTER = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
"""Where `ray start` writes down which cluster runs on this machine."""


def up(config_path: Path, options: UpOptions) -> int:
    """Run until stopped; the exit code for the shell. Raises `ConfigError`."""
    file = load_config_file(config_path)
    settings = load_settings()
    keys = load_keys(file.serving, settings)
    require_closed(file.host, keys, file.serving.ingress.allow_open)
    joins = joins_a_cluster(os.environ, CURRENT_CLUSTER)
    declared = {**found_resources(), **options.resources}
    notes = [] if joins else _check_fit(file, declared)
    folder = RunFolder(settings.run_dir)
    for cleared in clear(folder):
        say(f"hal0 has {cleared}.")
    try:
        record = _claim(file, config_path, folder)
        log = ServeLog(settings.logs_dir)
    except OSError as error:
        raise ConfigError((f"HAL0_HOME: {settings.home} cannot be written to: {error}",)) from error
    run = Run(file, options, folder, record, LocalServer(record.url, keys.one()), log)
    try:
        on_signals(raise_stopped)
        for note in notes:
            run.story.add(note)
        run.start(declared, joins)
        run.serve()
    except Stopped:
        say("hal0 is stopping.")
        run.stop(clean=True)
        say("hal0 has stopped.")
        return 0
    except Failed as failure:
        run.explain(failure)
        return 1
    finally:
        run.stop(clean=False)


def _claim(file: ConfigFile, config_path: Path, folder: RunFolder) -> UpRecord:
    """The port is ours from here on. Raises `ConfigError` if it is another one's, OSError if nothing can be written."""
    launcher = Process.of(os.getpid())
    assert launcher is not None
    require_free_port(file.host, file.port, folder)
    url = url_of(file.host, file.port, file.secure)
    record = UpRecord(secrets.token_hex(8), launcher, time.time(), file.port, url, str(config_path.absolute()))
    if not folder.claim(record):
        require_free_port(file.host, file.port, folder)
        raise ConfigError((_taken(file.host, file.port, "by another `hal0 up` that has just ended"),))
    return record


def _check_fit(file: ConfigFile, declared: Mapping[str, float]) -> list[str]:
    """What is worth a note. Raises `ConfigError` for what could never work."""
    here = [this_machine(declared)]
    wants = wants_of(file.serving, here, load_settings().models_dir)
    require_fit(file.serving, wants, here, IN_A_FILE)
    advices = ((want.slot.name, advice_if_unplaceable(want.claim, here, want.slot.stages)) for want in wants)
    return [f"{name}: fits on no node: {advice}" for name, advice in advices if advice]


def require_free_port(host: str, port: int, folder: RunFolder) -> None:
    """Raises `ConfigError` if another program listens there, naming it if it is a hal0 of this HAL0_HOME."""
    if (other := folder.at(port)) is not None and other.runs:
        who = f"by hal0 (pid {other.launcher.pid}, {other.config}); `hal0 down --port {port}` stops it"
        raise ConfigError((_taken(host, port, who),))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            problem = f"http_options.port: {port} on {host} cannot be used: {error.strerror}; allowed: a free port"
            raise ConfigError((problem,)) from error


def _taken(host: str, port: int, who: str) -> str:
    return f"http_options.port: {port} on {host} is used already {who}; allowed: a free port"


def joins_a_cluster(environ: Mapping[str, str], current: Path) -> bool:
    """Whether Serve is to use a Ray that runs already, whose nodes it knows better than we do here: one that
    RAY_ADDRESS names, or that `ray start` has started on this machine and that still answers."""
    if environ.get("RAY_ADDRESS"):
        return True
    try:
        host, _, port = current.read_text().strip().rpartition(":")
        with socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S):
            return True
    except (OSError, ValueError):
        return False
