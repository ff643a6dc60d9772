"""What would keep vLLM from loading any model on this machine, found before it tries: its import takes ten seconds."""

import asyncio
import contextlib
import logging
import shutil
from pathlib import Path

from providers.base import Node
from providers.errors import ProviderError
from providers.vllm.command import INSTALL, PROGRAM, missing_program
from providers.vllm.options import VllmSlot

logger = logging.getLogger("hal0.vllm")

KNOWN_VERSION = "0.32"
ASK_S = 10.0
ASK_VERSION = "import importlib.metadata as m; print(m.version('vllm'))"


async def preflight(slot: VllmSlot, node: Node) -> None:
    """Raises `ProviderError`. A container's image is not looked into."""
    if slot.options.container is not None:
        return
    python = await asyncio.to_thread(_python, slot, node)
    if python is None:
        return
    version = await _version(python, dict(node.base_env))
    if not version.startswith(f"{KNOWN_VERSION}."):
        logger.warning("Slot '%s': vLLM %s; made for %s, and not tried with others", slot.name, version, KNOWN_VERSION)


def _python(slot: VllmSlot, node: Node) -> str | None:
    """The Python that has vLLM; None if that cannot be told. Raises `ProviderError` if there is no program."""
    options = slot.options
    if options.python is not None:
        if shutil.which(options.python) is None:
            raise ProviderError(f"options.python: '{options.python}' is no program on this node. {missing_program()}")
        return options.python
    named = options.binary or str(node.programs.get(PROGRAM, ""))
    found = shutil.which(named, path=node.base_env.get("PATH")) if named else None
    if found is None:
        given = "" if options.binary is None else f"options.binary: '{named}' is no program on this node. "
        raise ProviderError(given + missing_program())
    return _interpreter(Path(found))


def _interpreter(script: Path) -> str | None:
    """What runs a script that pip has installed."""
    with contextlib.suppress(OSError, UnicodeDecodeError), script.open("rb") as file:
        first = file.readline(4096).decode().strip()
        if first.startswith("#!") and "python" in first and len(words := first[2:].split()) == 1:
            return words[0]
    return None


async def _version(python: str, env: dict[str, str]) -> str:
    """Raises `ProviderError` if that Python has no vLLM, or does not run."""
    try:
        process = await asyncio.create_subprocess_exec(
            python, "-c", ASK_VERSION, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise ProviderError(f"options.python: '{python}' does not run: {error}") from error
    try:
        async with asyncio.timeout(ASK_S):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise ProviderError(f"options.python: '{python}' has not told its version within {ASK_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
        raise ProviderError(
            f"'{python}' has no vLLM ({said[0]}). Install it there: {INSTALL}; for the CPU: scripts/vllm-venv DIR."
        )
    return output.decode().strip()
