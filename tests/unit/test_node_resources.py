"""What a node declares, from the files of real machines to the line that `ray start` reads."""

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from providers.devices import Device
from serve_app.cli import main
from serve_app.hardware.declaration import Declaration, declare, lines
from serve_app.hardware.nvidia import listed_memory, memory_by_address
from serve_app.hardware.rocm import architecture
from serve_app.hardware.survey import Survey, read_hardware, survey, with_memory
from serve_app.node_resources import NODE, exports
from tests.support.machine_tree import (
    GIB,
    MIB,
    MachineTree,
    arc_desktop,
    radeon_desktop,
    rtx_workstation,
    strix_halo,
    two_gpu_server,
)

LLAMA_SERVER = "llama-server"
SMI = {"0000:01:00.0": 24564 * MIB, "0000:17:00.0": 46068 * MIB, "0000:ca:00.0": 46068 * MIB}
"""What nvidia-smi tells."""


def declared(root: Path, *usable: Device, whatever_engines: bool = False) -> Declaration:
    seen = Survey(with_memory(read_hardware(root), SMI), dict.fromkeys(usable, LLAMA_SERVER))
    return declare(seen, whatever_engines)


@pytest.mark.parametrize(
    ("machine", "usable", "expected"),
    [
        (strix_halo, [Device.VULKAN, Device.NPU], {"vulkan": 1, "npu": 1}),
        (strix_halo, [Device.VULKAN, Device.ROCM], {"vulkan": 1, "rocm": 1}),
        (strix_halo, [], {}),
        (rtx_workstation, [Device.CUDA], {"cuda": 1, "vram_gib": 23.98}),
        (rtx_workstation, [Device.CUDA, Device.VULKAN], {"cuda": 1, "vulkan": 1, "vram_gib": 23.98}),
        (rtx_workstation, [Device.VULKAN], {"vulkan": 1, "vram_gib": 23.98}),
        (two_gpu_server, [Device.CUDA], {"cuda": 1, "vram_gib": 89.97}),
        (radeon_desktop, [Device.ROCM], {"rocm": 1, "vram_gib": 24}),
        (radeon_desktop, [Device.VULKAN], {"vulkan": 1, "vram_gib": 24}),
        (lambda root: arc_desktop(root, tile0__physical_vram_size_bytes=12 * GIB), [Device.VULKAN],
         {"vulkan": 1, "vram_gib": 12}),
        (lambda root: arc_desktop(root, drm__card0__lmem_total_bytes=16 * GIB), [Device.VULKAN],
         {"vulkan": 1, "vram_gib": 16}),
        (lambda root: None, [], {}),
        # A llama-server on a software Vulkan driver: the engine's word counts.
        (lambda root: None, [Device.VULKAN], {"vulkan": 1}),
    ],
)  # fmt: skip
def test_what_engines_can_use_is_declared(
    tmp_path: Path, machine: Callable[[Path], None], usable: list[Device], expected: dict[str, float]
) -> None:
    machine(tmp_path)
    assert declared(tmp_path, *usable).resources == expected


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (strix_halo, {"vulkan": 1, "rocm": 1, "npu": 1}),
        (rtx_workstation, {"vulkan": 1, "cuda": 1, "vram_gib": 23.98}),
        (two_gpu_server, {"cuda": 1, "vram_gib": 89.97}),
        (radeon_desktop, {"vulkan": 1, "rocm": 1, "vram_gib": 24}),
        (lambda root: None, {}),
    ],
)
def test_for_engines_in_containers_the_machines_own_word_does(
    tmp_path: Path, machine: Callable[[Path], None], expected: dict[str, float]
) -> None:
    machine(tmp_path)
    assert declared(tmp_path, whatever_engines=True).resources == expected


def test_what_is_left_out_is_told_with_the_reason(tmp_path: Path) -> None:
    strix_halo(tmp_path)
    made = declared(tmp_path, Device.VULKAN)
    assert made.reasons == ["vulkan: llama-server finds such a device"]
    assert made.left_out == [
        "rocm: ROCm's driver serves gfx1151, but no engine on PATH can use it; --hardware declares it all the same",
        f"npu: {tmp_path}/dev/accel/accel0, but no engine on PATH can use it; --hardware declares it all the same",
        "vram_gib: AMD GPU 0x1586 shares the node's memory, which Ray counts",
        "GPU: Ray counts the GPUs of NVIDIA and AMD itself, by their makers' libraries",
    ]


def test_what_is_found_is_told(tmp_path: Path) -> None:
    radeon_desktop(tmp_path)
    assert list(lines(read_hardware(tmp_path))) == [
        f"Radeon RX 7900 XTX (0000:03:00.0, {tmp_path}/dev/dri/renderD128): 24.00 GiB of its own",
        f"AMD GPU 0x164e (0000:0f:00.0, {tmp_path}/dev/dri/renderD129): shares the node's memory",
        f"ROCm's driver serves gfx1100 ({tmp_path}/dev/dri/renderD128)",
    ]


def test_what_the_firmware_sets_aside_for_an_integrated_gpu_is_its_own_if_it_is_most(tmp_path: Path) -> None:
    strix_halo(tmp_path, set_aside=96 * GIB, shared=15 * GIB)
    assert declared(tmp_path, Device.VULKAN).resources == {"vulkan": 1, "vram_gib": 96}


def test_memory_of_which_a_part_is_unknown_is_left_out(tmp_path: Path) -> None:
    arc_desktop(tmp_path)
    made = declared(tmp_path, Device.VULKAN)
    assert made.resources == {"vulkan": 1}
    assert "vram_gib: nothing tells how much Intel GPU 0xe20b has; give it by --resources" in made.left_out


def test_a_gpu_whose_vulkan_driver_is_not_installed_has_none(tmp_path: Path) -> None:
    MachineTree(tmp_path).gpu(128, "0000:03:00.0", "0x1002", "0x744c")
    MachineTree(tmp_path).vulkan_driver("intel_icd.x86_64.json")
    assert declared(tmp_path, whatever_engines=True).resources == {}


def test_a_container_without_the_device_file_has_no_rocm(tmp_path: Path) -> None:
    MachineTree(tmp_path).compute_node(1, 80, 110501, 128)
    assert declared(tmp_path, whatever_engines=True).resources == {}


def test_an_npu_that_no_engine_uses_is_told(tmp_path: Path) -> None:
    MachineTree(tmp_path).npu(0, "intel_vpu")
    made = declared(tmp_path, whatever_engines=True)
    assert made.resources == {}
    assert made.left_out == [f"npu: no engine uses {tmp_path}/dev/accel/accel0 of the driver intel_vpu"]


@pytest.mark.parametrize("text", ["", "none", "0x", "-", "\x00\xff"])
def test_files_with_nothing_of_use_in_them_are_no_error(tmp_path: Path, text: str) -> None:
    for machine in (strix_halo, rtx_workstation, two_gpu_server):
        root = tmp_path / machine.__name__
        machine(root)
        for file in [path for path in root.rglob("*") if path.is_file()]:
            file.write_text(text)
        declare(Survey(read_hardware(root), {}), whatever_engines=True)


@pytest.mark.parametrize(
    ("version", "name"), [(110501, "gfx1151"), (90010, "gfx90a"), (100300, "gfx1030"), (120001, "gfx1201")]
)
def test_architectures_have_rocms_names(version: int, name: str) -> None:
    assert architecture(version) == name


def test_nvidia_smi_is_read() -> None:
    listing = "00000000:01:00.0, 24564\n0000000F:01:00.0, [N/A]\nNo devices were found\n"
    assert listed_memory(listing) == {"0000:01:00.0": 24564 * MIB, "000f:01:00.0": 0}


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_an_nvidia_smi_that_cannot_tell_knows_nothing(tmp_path: Path) -> None:
    assert memory_by_address(tmp_path / "nothing") == {}
    assert memory_by_address(program(tmp_path, "nvidia-smi", "echo 00000000:01:00.0, 1; exit 9")) == {}


def test_programs_and_files_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    program(programs, "llama-server", "echo '  CUDA0: NVIDIA GeForce RTX 4090 (24564 MiB, 24000 MiB free)'")
    program(programs, "nvidia-smi", "echo '00000000:01:00.0, 24564'")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    rtx_workstation(tmp_path)
    seen = survey(tmp_path)
    assert seen.usable == {Device.CUDA: "llama-server"}
    assert declare(seen).resources == {"cuda": 1, "vram_gib": 23.98}


def test_the_command_prints_one_line_that_ray_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "llama-server", "echo '  Vulkan0: A GPU (1 MiB, 1 MiB free)'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    arguments = ["node-resources", "--explain", "--resources", '{"vram_gib": 7.5, "shelf": 2}']
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    [line] = result.stdout.splitlines()
    assert json.loads(line)["vulkan"] == 1
    assert '"shelf": 2' in line and '"vram_gib": 7.5' in line
    assert "declared  vulkan: llama-server finds such a device" in result.stderr


def test_wrong_resources_are_refused_with_what_is_allowed() -> None:
    result = CliRunner().invoke(main, ["node-resources", "--resources", "[1]"])
    assert result.exit_code == 2
    assert "'[1]' is not allowed; allowed: a JSON object such as" in result.stderr


def test_the_environment_is_for_a_shell_and_what_is_set_already_wins() -> None:
    script = "\n".join([*exports({"SPT_NOENV": "0"}), "env"])
    env = {"SPT_NOENV": "0", "PATH": "/usr/bin:/bin"}
    said = subprocess.run(["/bin/sh", "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    set_there = dict(line.split("=", 1) for line in said.splitlines())
    assert {name: set_there[name] for name in NODE} == NODE | {"SPT_NOENV": "0"}
    assert all(shlex.split(line)[0] == "export" for line in exports({}))
