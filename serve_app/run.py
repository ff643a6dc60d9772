"""Ray and `serve run` in one process: what `hal0 up` starts under a guard.

`python -m serve_app.run [--join] [--dashboard] [--runtime-envs] [--verbose] CONFIG`. Stopped by SIGINT.
"""

import contextlib
import os
import signal
import sys
import threading
from argparse import ArgumentParser, Namespace

import ray
from click import Abort
from ray import serve
from ray.serve._private.constants import SERVE_NAMESPACE
from ray.serve.schema import ApplicationStatus
from ray.serve.scripts import run as serve_run

from serve_app.launch.news import Step, tell
from serve_app.launch.ray_node import OwnNode, Services

LOOK_S = 0.1
FAILED = 1


def main() -> None:
    options = _options()
    with contextlib.suppress(KeyboardInterrupt, Abort, SystemExit):
        _serve(options)
    if options.join:
        return
    # Serve has stopped, engines with it. Ray has nothing to keep: the kernel and the guard end it at once.
    sys.stdout.flush()
    os._exit(0)


def _serve(options: Namespace) -> None:
    """Until SIGINT."""
    stopping = threading.Event()
    session = ""
    if not options.join:
        node = OwnNode(Services(options.dashboard, log_monitor=options.verbose, runtime_envs=options.runtime_envs))
        node.join(SERVE_NAMESPACE, log_to_driver=options.verbose)
        session = str(node.session)
        threading.Thread(target=_die_with, args=(node, stopping), daemon=True).start()
    threading.Thread(target=_tell_how_it_goes, args=(session, stopping), daemon=True).start()
    try:
        serve_run([options.config], standalone_mode=False)
    finally:
        stopping.set()


def _options() -> Namespace:
    parser = ArgumentParser(prog="serve_app.run")
    parser.add_argument("--join", action="store_true", help="the Ray that RAY_ADDRESS names, or that runs here")
    parser.add_argument("--dashboard", action="store_true")
    parser.add_argument("--runtime-envs", action="store_true", help="the configuration has some")
    parser.add_argument("--verbose", action="store_true", help="print what workers print")
    parser.add_argument("config")
    return parser.parse_args()


def _die_with(node: OwnNode, stopping: threading.Event) -> None:
    """A driver whose Ray has been stopped would try for a minute to reach it."""
    while not stopping.wait(LOOK_S):
        if (lost := node.lost()) is not None and not stopping.is_set():
            tell("failed", f"Ray's {lost} has ended")
            os._exit(FAILED)


def _tell_how_it_goes(session: str, stopping: threading.Event) -> None:
    """Until the application runs or has failed; then Serve would wait for ever for somebody to mend it."""
    told: Step | None = None
    while not stopping.wait(LOOK_S):
        # Serve would start a Ray of its own where there is none yet.
        if not ray.is_initialized():
            continue
        if told is None:
            told = "ray"
            tell(told, session)
        states = _states()
        if told == "ray" and states:
            told = "serve"
            tell(told)
        if ApplicationStatus.DEPLOY_FAILED in states:
            tell("failed", states[ApplicationStatus.DEPLOY_FAILED])
            os.kill(os.getpid(), signal.SIGINT)
            return
        if set(states) == {ApplicationStatus.RUNNING}:
            return


def _states() -> dict[ApplicationStatus, str]:
    """Of applications, with what Serve says of one in this state; none while Serve is starting."""
    try:
        return {one.status: one.message for one in serve.status().applications.values()}
    except Exception:
        return {}


if __name__ == "__main__":
    main()
