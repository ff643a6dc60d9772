"""The emulated `vllm` as a process, and its folder of programs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from providers.base import Endpoint, ModelFiles, Placement
from providers.devices import Device
from providers.vllm.options import VllmSlot
from providers.vllm.provider import Vllm
from tests.support.server import free_port

BIN = Path(__file__).parents[1] / "emulators" / "vllm" / "bin"
KEY = "key-of-this-start"


def variables(faults: Path, pace_s: float = 0.0) -> dict[str, str]:
    """What the emulator is told by; `faults` need not be there."""
    return {
        "VLLM_EMULATOR_PYTHON": sys.executable,
        "VLLM_EMULATOR_FAULT_FILE": str(faults),
        "VLLM_EMULATOR_PACE_S": str(pace_s),
    }


def model_folder(folder: Path) -> Path:
    """All that the emulator wants of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    return folder


@contextmanager
def serving(
    slot: VllmSlot, model: ModelFiles, faults: Path, log: Path
) -> Iterator[tuple[Endpoint, "subprocess.Popen[bytes]"]]:
    """An emulated engine as the provider starts it, from its first moment."""
    port = free_port()
    placement = Placement(
        device=Device(slot.device),
        host="127.0.0.1",
        port=port,
        token=KEY,
        cache_dir=log.parent / "cache",
        accelerator_ids=("0",) if slot.device != Device.CPU.value else (),
        programs={"vllm": BIN / "vllm"},
        base_env={"PATH": os.environ["PATH"], "HOME": str(log.parent)} | variables(faults),
    )
    provider = Vllm()
    with log.open("wb") as out:
        process = subprocess.Popen(
            provider.start_cmd(slot, model, placement).argv,
            env=provider.build_env(slot, model, placement),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Endpoint(f"http://127.0.0.1:{port}", KEY), process
    finally:
        process.kill()
        process.wait()
