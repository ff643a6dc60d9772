"""What this machine has, by its own word."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from providers.registry import PROVIDERS
from serve_app.engine_memory import total_bytes
from serve_app.hardware.declaration import declare, lines, shown
from serve_app.hardware.programs import programs_on_path
from serve_app.hardware.survey import survey
from serve_app.models.sizes import shown_bytes

CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    versions: Mapping[str, str]
    system: str
    processor: str
    cpus: int
    memory_bytes: int
    programs: Mapping[str, Path | None]
    """All that providers would use, and where PATH has them."""
    devices: tuple[str, ...]
    """The CPU, and what engines find."""
    hardware: tuple[str, ...]
    """GPUs and NPUs by the word of kernel and drivers."""
    resources: Mapping[str, float]
    """What `hal0 up` declares by itself."""

    def lines(self) -> list[str]:
        rows = {
            "versions": ", ".join(f"{name} {number}" for name, number in self.versions.items()),
            "system": self.system,
            "processor": f"{self.processor}, {self.cpus} CPUs",
            "memory": shown_bytes(self.memory_bytes),
            "devices": ", ".join(self.devices),
            "hardware": "; ".join(self.hardware) or "no GPU, no NPU",
            "declares": json.dumps(self.resources),
        }
        found = {name: str(path) if path else "not on PATH" for name, path in self.programs.items()}
        return [f"{name:14}{text}" for name, text in (rows | found).items()]


def this_machine() -> Machine:
    """Asks the providers' programs for devices, so it may take seconds."""
    names = [(name, one) for one in PROVIDERS.values() for name in one.programs]
    seen = survey()
    return Machine(
        versions={"hal0": _version("hal0"), "Python": platform.python_version(), "Ray": _version("ray")},
        system=platform.platform(),
        processor=_processor(),
        cpus=os.cpu_count() or 1,
        memory_bytes=total_bytes(),
        programs={name: programs_on_path(one).get(name) for name, one in names},
        devices=("cpu", *sorted(seen.usable)),
        hardware=tuple(lines(seen.hardware)),
        resources=shown(declare(seen).resources),
    )


def _version(package: str) -> str:
    """Without importing it: Ray takes seconds."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
