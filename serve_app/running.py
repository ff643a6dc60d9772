"""An engine that has loaded, and all that stands for it in its replica."""

import asyncio
import signal
from dataclasses import dataclass, field

from providers.base import Endpoint
from serve_app.engine_process import EngineProcess
from serve_app.errors import EngineDied
from serve_app.fronted_process import FrontedProcess
from serve_app.gate import Gate
from serve_app.native_process import NativeProcess
from serve_app.sleeper import Sleeper

AnyProcess = EngineProcess | NativeProcess | FrontedProcess
SIGNAL_BASE = 128


@dataclass(slots=True)
class Running:
    """A loaded engine. `lost` resolves to the reason once it must not be used any more."""

    process: AnyProcess
    endpoint: Endpoint
    gate: Gate
    sleeper: Sleeper | None = None
    lost: asyncio.Future[EngineDied] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def lose(self, reason: EngineDied) -> None:
        """Tell all who use it, once."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def stop(self) -> None:
        """Nothing is left of it afterwards. May be called again."""
        if self.sleeper is not None:
            self.sleeper.close()
        await self.gate.close()
        await self.process.stop()

    async def condemn(self, reason: str) -> None:
        """It runs and is of no use: the next request has a new one."""
        self.process.verdict = reason
        await self.gate.close()
        await self.process.stop()


def how_it_ended(code: int) -> str:
    if code <= SIGNAL_BASE:
        return f"exited with code {code}"
    name = signal.strsignal(code - SIGNAL_BASE) or "unknown"
    return f"was ended by signal {code - SIGNAL_BASE} ({name})"
