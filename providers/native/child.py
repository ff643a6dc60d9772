"""A native engine as a process of its own: `python -m providers.native.child --slot JSON --model PATH --port N ...`.

Its token comes in HAL0_ENGINE_TOKEN. SIGTERM and SIGINT end it. Its health tells of a load that failed, as in an actor.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

from providers.base import ModelFiles, NativeEngine, Placement
from providers.devices import Device
from providers.errors import ProviderError
from providers.native.command import TOKEN_VARIABLE
from providers.registry import provider


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        engine = engine_of(arguments().parse_args())
        asyncio.run(serve(engine))
    except (OSError, ProviderError, ValueError) as error:
        sys.exit(f"error: {error}")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--slot", required=True, help="the slot as JSON, without what makes it a process of its own")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--companion", action="append", default=[], metavar="ROLE=PATH")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device", type=Device, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cache-dir", type=Path, required=True)
    return parser


def engine_of(given: argparse.Namespace) -> NativeEngine:
    """Raises `ProviderError` and ValueError for what cannot be."""
    one = provider(json.loads(given.slot)["provider"])
    companions = {role: Path(path) for role, _, path in (text.partition("=") for text in given.companion)}
    placement = Placement(
        device=given.device,
        host=given.host,
        port=given.port,
        token=os.environ[TOKEN_VARIABLE],
        cache_dir=given.cache_dir,
        cpu_threads=given.threads,
    )
    engine = one.native(one.spec.model_validate_json(given.slot), ModelFiles(given.model, companions), placement)
    if engine is None:
        raise ProviderError(f"Provider {one.name} has no native engine.")
    return engine


async def serve(engine: NativeEngine) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await engine.start()
    try:
        await stopped.wait()
    finally:
        await engine.stop()


if __name__ == "__main__":
    main()
