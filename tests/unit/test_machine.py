"""Devices that a llama-server finds become Ray resources. The program here is an emulator of its listing."""

from pathlib import Path

import pytest

from providers.devices import Device
from providers.llamacpp.detection import devices_in, listed_devices
from serve_app.machine import found_resources

LISTING = """Available devices:
  Vulkan0: AMD Radeon 8060S (RADV GFX1151) (65536 MiB, 64000 MiB free)
  CUDA0: NVIDIA RTX 6000 (49140 MiB, 48000 MiB free)
"""


def emulator(folder: Path, script: str) -> Path:
    program = folder / "llama-server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_devices_are_read_from_the_listing() -> None:
    assert devices_in(LISTING) == {Device.VULKAN, Device.CUDA}
    assert devices_in("Available devices:\n") == frozenset()


def test_a_program_that_cannot_tell_finds_none(tmp_path: Path) -> None:
    assert listed_devices(tmp_path / "nothing") == frozenset()
    assert listed_devices(emulator(tmp_path, "exit 1")) == frozenset()


def test_what_is_found_is_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator(tmp_path, f"cat <<'END'\n{LISTING}END")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert found_resources() == {"vulkan": 1.0, "cuda": 1.0}


def test_without_a_program_nothing_is_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found_resources() == {}
