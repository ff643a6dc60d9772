"""Short commands of `flm`: asked, answered within a bound, and nothing left of them."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event

from providers.base import Command, Node
from providers.errors import ProviderError
from providers.flm.command import RELEASES, program_command, program_environment
from providers.flm.options import FlmSlot

LIMIT_S = 5.0
CONTAINER_LIMIT_S = 120.0
"""Its image may have to be fetched first."""
POLL_S = 0.05
END_S = 1.0
"""A process that the kernel does not let go even when it is killed is not waited for any longer."""
CLEANUP_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    output: str
    """What it wrote on stdout."""
    errors: str

    @property
    def words(self) -> str:
        """All that it wrote, for people."""
        return (self.output + self.errors).strip() or "nothing"


class GivenUp(Exception):
    """Whoever asked does not want to know any more."""


def ask(
    command: Command, environment: Mapping[str, str] | None, limit_s: float, given_up: Event | None = None
) -> Answer:
    """Blocks. `environment` None: this process's. Raises `OSError` if the program cannot be started, `TimeoutError`
    past the limit, and `GivenUp` within a second after that was set."""
    env = None if environment is None else dict(environment)
    process = subprocess.Popen(
        command.argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + limit_s
    try:
        while True:
            try:
                output, errors = process.communicate(timeout=POLL_S)
                return Answer(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))
            except subprocess.TimeoutExpired:
                if given_up is not None and given_up.is_set():
                    raise GivenUp from None
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no answer within {limit_s:g} s") from None
    except BaseException:
        _end(process, command.cleanup, env)
        raise


async def said(slot: FlmSlot, node: Node, *words: str) -> Answer:
    """Of the slot's flm to a short command. When it is cancelled, the process is ended first. Raises `ProviderError` if
    there is none, it cannot be started, or it hangs."""
    command = program_command(slot, node, words, f"hal0-{slot.name}-{words[0]}")
    limit_s = LIMIT_S if slot.options.container is None else CONTAINER_LIMIT_S
    try:
        return await _in_a_thread(command, program_environment(slot, node), limit_s)
    except TimeoutError as error:
        raise ProviderError(
            f"`flm {words[0]}` gave no answer within {limit_s:g} s: the NPU's driver may hang, which `sudo dmesg | "
            "grep amdxdna` tells; restart the machine."
        ) from error
    except OSError as error:
        raise ProviderError(cannot_run(slot, command, error)) from error


def cannot_run(slot: FlmSlot, command: Command, error: OSError) -> str:
    problem = f"'{command.argv[0]}' cannot be run: {error.strerror or error}."
    container = slot.options.container
    if container is None:
        return f"{problem} Name a working flm in options.binary, or install FastFlowLM: {RELEASES}"
    other = "docker" if container.runtime == "podman" else "podman"
    return f"{problem} Install {container.runtime}, or set `runtime: {other}` in options.container."


async def _in_a_thread(command: Command, environment: Mapping[str, str], limit_s: float) -> Answer:
    given_up = Event()
    asking = asyncio.ensure_future(asyncio.to_thread(ask, command, environment, limit_s, given_up))
    try:
        return await asyncio.shield(asking)
    except asyncio.CancelledError:
        given_up.set()
        await asyncio.gather(asking, return_exceptions=True)
        raise


def _end(process: "subprocess.Popen[bytes]", cleanup: tuple[str, ...], env: dict[str, str] | None) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if cleanup:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(cleanup, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=CLEANUP_S)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
