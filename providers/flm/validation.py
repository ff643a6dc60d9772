"""What `flm validate --json` and `flm version --json` tell of a machine, and what to do about it. Pure.

The program's own verdicts count; its figures only explain them, since other versions may ask for more or for less.
"""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from providers.flm.json_output import first_object

OLDEST_KERNEL, OLDEST_DRIVER, OLDEST_FIRMWARE, LEAST_COLUMNS = (6, 17), (0, 6), (1, 1), 8
OLDEST_KNOWN = (0, 9, 43)
"""The first version of flm that this provider was written for."""
UNLIMITED = "infinity"
DEVICE = "/dev/accel/accel0"

NO_DEVICE = (
    "flm finds no NPU. It must be enabled in the firmware setup (BIOS), its driver must be loaded (`lsmod | grep "
    f"amdxdna`; `sudo dmesg | grep amdxdna` says what it met), and this user must be allowed to open {DEVICE} (`sudo "
    "usermod -aG render $USER`, then log in anew). FastFlowLM needs XDNA 2, as in Ryzen AI 300 and Ryzen AI Max."
)
RAISE_MEMLOCK = (
    "allow it with `* - memlock unlimited` in /etc/security/limits.d/99-npu.conf and a new login, with "
    "LimitMEMLOCK=infinity in a systemd unit, or with `--ulimit memlock=-1:-1` for a container"
)


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class NpuDevice(_Told):
    device: str = DEVICE
    fw_major: int = 0
    fw_minor: int = 0
    fw_patch: int = 0
    fw_build: int = 0
    fw_ok: bool = True
    cols: int = 0

    @property
    def firmware(self) -> str:
        return f"{self.fw_major}.{self.fw_minor}.{self.fw_patch}.{self.fw_build}"


class Report(_Told):
    """What is not told counts as good."""

    ready: bool
    kernel: str = ""
    kernel_ok: bool = True
    """The driver's version counts, too, where there is one."""
    amd_device_found: bool = True
    all_fw_ok: bool = True
    enough_cols: bool = True
    memlock_ok: bool = True
    memlock_limit: str = UNLIMITED
    """Bytes, or `infinity`."""
    drm_version: str = ""
    """Of the driver amdxdna; empty if none is loaded."""
    devices: tuple[NpuDevice, ...] = ()


def parsed_report(output: str) -> Report | None:
    """Of what `flm validate --json` wrote on stdout; None if that is no report."""
    try:
        return Report.model_validate(first_object(output))
    except ValueError:
        return None


def parsed_version(output: str) -> str | None:
    """Of what `flm version --json` wrote on stdout, such as `0.9.45`; None if it tells none."""
    try:
        told = first_object(output)
    except ValueError:
        return None
    version = told.get("version")
    return version if isinstance(version, str) and version else None


def problems(report: Report) -> list[str]:
    """Why no model can run on this machine, each with what to do. Empty if the machine is ready."""
    if report.ready:
        return []
    found = [*_kernel_problems(report), *_device_problems(report), *_memlock_problems(report)]
    return found or ["flm takes this machine for not ready and does not say why; `flm validate` may tell more."]


def version_warning(version: str | None) -> str | None:
    """About an flm that is older than any that this provider was written for."""
    if version is None or _numbers(version) >= OLDEST_KNOWN:
        return None
    return f"flm {version} is older than {_dotted(OLDEST_KNOWN)}, the oldest that is known to work here; update it."


def _kernel_problems(report: Report) -> list[str]:
    if report.kernel_ok:
        return []
    found = []
    if _numbers(report.kernel) < OLDEST_KERNEL:
        found.append(
            f"Linux {report.kernel} is too old; flm needs {_dotted(OLDEST_KERNEL)} or newer: install a newer kernel "
            "(on Ubuntu 24.04: linux-generic-hwe-24.04) and restart."
        )
    if report.drm_version and _numbers(report.drm_version) < OLDEST_DRIVER:
        found.append(
            f"The driver amdxdna {report.drm_version} is too old; flm needs {_dotted(OLDEST_DRIVER)} or newer: install "
            "a newer kernel, or the driver by itself (Ubuntu: amdxdna-dkms from ppa:amd-team/xrt), and restart."
        )
    driver = report.drm_version or "not loaded"
    return found or [f"flm does not take Linux {report.kernel} with the driver amdxdna {driver}: update both."]


def _device_problems(report: Report) -> list[str]:
    if not report.amd_device_found:
        return [NO_DEVICE]
    found = []
    if not report.all_fw_ok:
        told = ", ".join(one.firmware for one in report.devices if not one.fw_ok) or "of this NPU"
        found.append(
            f"The NPU's firmware {told} is too old; flm needs {_dotted(OLDEST_FIRMWARE)} or newer: update the package "
            "linux-firmware (with amdxdna-dkms, that package too, as both must fit each other) and restart."
        )
    if not report.enough_cols:
        columns = max((one.cols for one in report.devices), default=0)
        found.append(
            f"The NPU has {columns} columns; flm needs {LEAST_COLUMNS}, which XDNA 2 has (Ryzen AI 300 and later, "
            "Ryzen AI Max). One of the first generation cannot run these models: give the slot another provider, such "
            "as llama.cpp."
        )
    return found


def _memlock_problems(report: Report) -> list[str]:
    if report.memlock_ok:
        return []
    limit = report.memlock_limit
    shown = f"{int(limit) / 2**20:g} MiB" if limit.isdecimal() else limit
    return [f"Only {shown} of memory may be locked, and a model is locked as a whole: {RAISE_MEMLOCK}."]


def _numbers(version: str) -> tuple[int, ...]:
    """`6.17.0-generic` is (6, 17, 0); what is no version is newer than any."""
    found = re.match(r"[^\d]{0,2}(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found[1].split(".")[:4]) if found else (999,)


def _dotted(numbers: Sequence[int]) -> str:
    return ".".join(map(str, numbers))
