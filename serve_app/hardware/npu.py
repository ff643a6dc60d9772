"""NPUs as the kernel lists them: /sys/class/accel, device files in /dev/accel."""

from dataclasses import dataclass
from pathlib import Path

from serve_app.hardware.files import entries, text

USED_BY_FLM = "amdxdna"


@dataclass(frozen=True, slots=True)
class Npu:
    """`driver` is the kernel's name of it."""

    driver: str
    device_file: Path

    @property
    def usable(self) -> bool:
        """Whether a provider has an engine for its kind."""
        return self.driver == USED_BY_FLM and self.device_file.exists()


def npus(root: Path) -> list[Npu]:
    return [
        Npu(_driver(accel / "device"), root / "dev/accel" / accel.name)
        for accel in entries(root / "sys/class/accel", "accel*")
    ]


def _driver(device: Path) -> str:
    for line in text(device / "uevent").splitlines():
        if line.startswith("DRIVER="):
            return line.removeprefix("DRIVER=")
    return "unknown"
