"""`flm validate` of a machine that is as good as the faults leave it."""

import json
from dataclasses import dataclass

from tests.emulators.flm import faults
from tests.emulators.flm.console import Colour, say, write
from tests.emulators.flm.faults import Fault
from tests.emulators.flm.settings import numbers

DEVICE = "/dev/accel/accel0"
NEEDED_COLUMNS = 8
LOW_MEMLOCK = 8 << 20


@dataclass(frozen=True, slots=True)
class Machine:
    found: bool
    kernel: str
    drm: str
    firmware: tuple[int, int, int, int]
    columns: int
    memlock: int | None
    """Bytes; None for no limit."""

    @property
    def driver_ok(self) -> bool:
        return numbers(self.drm) >= (0, 6)

    @property
    def kernel_ok(self) -> bool:
        """The driver counts, too, where there is one."""
        return numbers(self.kernel) >= (6, 17) and (self.driver_ok or not self.found)

    @property
    def firmware_ok(self) -> bool:
        return self.firmware >= (1, 1)

    @property
    def ready(self) -> bool:
        fit = self.firmware_ok and self.columns >= NEEDED_COLUMNS
        return self.found and self.kernel_ok and fit and self.memlock is None


def machine() -> Machine:
    return Machine(
        found=not faults.has(Fault.DRIVER_MISSING),
        kernel="6.14.0-generic" if faults.has(Fault.KERNEL_TOO_OLD) else "6.17.0-generic",
        drm="0.5" if faults.has(Fault.DRIVER_TOO_OLD) else "0.6",
        firmware=(1, 0, 0, 63) if faults.has(Fault.FIRMWARE_TOO_OLD) else (1, 1, 2, 64),
        columns=4 if faults.has(Fault.FEW_COLUMNS) else NEEDED_COLUMNS,
        memlock=LOW_MEMLOCK if faults.has(Fault.MEMLOCK_LOW) else None,
    )


def validate(as_json: bool) -> int:
    """0 if the machine is ready, else 1."""
    state = machine()
    if as_json:
        write(json.dumps(_record(state), indent=4, sort_keys=True) + "\n")
    else:
        _tell(state)
    return 0 if state.ready else 1


def _record(state: Machine) -> dict[str, object]:
    major, minor, patch, build = state.firmware
    device = {
        "device": DEVICE,
        "fw_major": major,
        "fw_minor": minor,
        "fw_patch": patch,
        "fw_build": build,
        "fw_ok": state.firmware_ok,
        "cols": state.columns,
    }
    return {
        "object": "npu_stack_validation",
        "platform": "linux",
        "kernel": state.kernel,
        "kernel_ok": state.kernel_ok,
        "amd_device_found": state.found,
        # Nothing was found wrong with what was not found.
        "all_fw_ok": state.firmware_ok or not state.found,
        "enough_cols": state.columns >= NEEDED_COLUMNS or not state.found,
        "memlock_ok": state.memlock is None,
        "memlock_limit": "infinity" if state.memlock is None else str(state.memlock),
        "devices": [device] if state.found else [],
        "ready": state.ready,
    } | ({"drm_version": state.drm} if state.found else {})


def _tell(state: Machine) -> None:
    say("Linux", f"Kernel: {state.kernel}")
    if state.found:
        _tell_device(state)
    else:
        say("ERROR", "No NPU device found.", Colour.RED)
    if state.memlock is None:
        say("Linux", "Memlock Limit: infinity", Colour.GREEN)
    else:
        limit = state.memlock >> 20
        say(
            "ERROR",
            f"Memlock limit is too low ({limit}MB). Please raise the limit or set to infinity.",
            Colour.RED,
        )


def _tell_device(state: Machine) -> None:
    if not state.firmware_ok:
        say("ERROR", f"NPU firmware version on {DEVICE} is incompatible. Please update NPU firmware!", Colour.RED)
    if state.columns < NEEDED_COLUMNS:
        few = f"NPU {DEVICE} does not have enough columns ({state.columns} < {NEEDED_COLUMNS})"
        say("ERROR", few, Colour.RED)
    say("Linux", f"NPU: {DEVICE} with {state.columns} columns", Colour.GREEN)
    say("Linux", f"NPU FW Version: {'.'.join(map(str, state.firmware))}", Colour.GREEN)
    if not state.driver_ok:
        say("ERROR", f"amdxdna version {state.drm} is incompatible", Colour.RED)
    else:
        say("Linux", f"amdxdna version: {state.drm}", Colour.GREEN)
