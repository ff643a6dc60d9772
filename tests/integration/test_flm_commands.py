"""The commands of the emulated `flm`: what they print, and their exit codes."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.flm import ANSI, environment, flm
from tests.support.server import eventually

pytestmark = pytest.mark.engine

TAG, NAME = "qwen3:0.6b", "Qwen3-0.6B-NPU2"
FILES = ["config.json", "model.q4nx", "tokenizer.json", "tokenizer_config.json"]


def installed(home: Path, **more: str) -> list[str]:
    listed = json.loads(flm(home, "list", "--json", "--filter", "installed", **more).stdout)
    return [entry["name"] for entry in listed["models"]]


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("version", 0, "FLM v0.9.45\n", ""),
        ("version --json", 0, '{ "version": "0.9.45" }\n', ""),
        ("--version", 1, "FLM v0.9.45\n", ""),
        ("-v", 1, "FLM v0.9.45\n", ""),
        ("port", 0, "Server Port: 52625\n", ""),
        ("port -p 99 -j", 0, '{ "port": 99 }\n', ""),
        ("", 1, "", "Error: Command is required\n"),
        ("frob", 1, "", "Invalid command: frob\nUse --help for usage information\n"),
        ("--frob", 1, "", "Error parsing arguments: unrecognised option '--frob'\n"),
        (
            "serve a b",
            1,
            "",
            "Error parsing arguments: too many positional options have been specified on the command line\n",
        ),
        ("pull", 1, "", "Error: Model tag is required for command 'pull'\n"),
        (
            "pull nope",
            1,
            "[ERROR]  Model not found: nope; Please check with `flm list` and try again.\n",
            "",
        ),
        (
            "serve nope",
            1,
            "[ERROR]  Model not found: nope; Please check with `flm list` and try again.\n",
            "",
        ),
        (
            "pull qwen3 --port 1",
            1,
            "",
            "Error: The port number option is only supported with the serve command! \n",
        ),
        ("pull qwen3 -s 1", 1, "", "Error: Max socket connections is only required for serve command! \n"),
        ("pull qwen3 -q 1", 1, "", "Error: Max npu queue length is only required for serve command! \n"),
        ("check qwen3 --cors 0", 1, "", "Error: The cors option is only supported with the serve command! \n"),
        (
            "serve --pmode fast",
            1,
            "",
            "Error: Invalid power mode 'fast'\nValid power modes: default, powersaver, balanced, performance, turbo\n",
        ),
        (
            "list --filter some",
            1,
            "[Error]  Invalid filter: please use 'all', 'installed', or 'not-installed'\n",
            "",
        ),
        (
            "list --filter installed",
            0,
            "Models:\n  No models found for the specified filter.\n",
            "",
        ),
        ("run qwen3", 2, "", "emulator: `flm run` is not emulated\n"),
    ],
)
def test_commands(tmp_path: Path, command: str, code: int, out: str, err: str) -> None:
    done = flm(tmp_path, *command.split())
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


@pytest.mark.parametrize("command", ["help", "--help", "-h", "serve --he"])
def test_help_ends_with_one(tmp_path: Path, command: str) -> None:
    done = flm(tmp_path, *command.split())
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("Usage: flm <command> [options] [model_tag]\n")


def test_the_environment_that_it_honours(tmp_path: Path) -> None:
    assert flm(tmp_path, "port", FLM_SERVE_PORT="81").stdout == "Server Port: 81\n"
    assert flm(tmp_path, "port", "-p", "82", FLM_SERVE_PORT="81").stdout == "Server Port: 82\n"

    entry = {"name": "Mine-NPU2", "files": FILES, "size": 1, "details": {"family": "qwen3"}}
    models = tmp_path / "model_list.json"
    models.write_text(json.dumps({"models": {"mine": {"1b": entry}}}))
    done = flm(tmp_path, "list", "--quiet", FLM_CONFIG_PATH=str(models))
    assert done.stdout == "Models:\n  - mine:1b\n"
    assert done.stderr == f"[FLM]  Using custom model list path: {models}\n"


def test_a_fault_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = flm(tmp_path, "version", FLM_EMULATOR_FAULT="drivr-missing")
    assert done.returncode == 2 and "'drivr-missing'" in done.stderr


def test_pull_list_check_remove(tmp_path: Path) -> None:
    pulled = flm(tmp_path, "pull", "qwen3")
    folder = tmp_path / "models" / NAME
    lines = re.split(r"[\r\n]+", ANSI.sub("", pulled.stdout))
    assert pulled.returncode == 0
    assert [line for line in lines if "Downloading " in line][1:] == [
        f"[FLM]  Downloading {place}/4: {file}" for place, file in enumerate(FILES, 1)
    ]
    assert "[FLM]  Overall progress:  4/4 files" in lines
    assert lines[-4:-1] == [
        "[FLM]  All downloads completed successfully!",
        "[FLM]  Model downloaded successfully!",
        "[FLM]  All files verified successfully.",
    ]

    assert sorted(os.listdir(folder)) == FILES and installed(tmp_path) == [TAG]
    assert f"  - {TAG} ✅\n" in flm(tmp_path, "list").stdout
    again = flm(tmp_path, "pull", TAG)
    assert again.stdout == "[FLM]  Model is already downloaded.\n[FLM]  All required files are present.\n"

    (folder / "model.q4nx").write_bytes(b"spoiled")
    assert "Removing corrupted file: model.q4nx..." in flm(tmp_path, "check", TAG).stdout
    assert installed(tmp_path) == []
    assert "Downloading 1/1: model.q4nx" in flm(tmp_path, "pull", TAG, "--force").stdout
    assert installed(tmp_path) == [TAG]

    removed = flm(tmp_path, "remove", TAG)
    assert removed.returncode == 0 and "Successfully removed 4 files" in removed.stdout and not folder.exists()
    assert flm(tmp_path, "remove", TAG).stdout == f"[FLM]  Model directory does not exist: {folder}\n"


def test_a_pull_shows_how_far_it_is_and_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """What is there of a file is not fetched again; a file of which there is a part counts as there."""
    env = environment(tmp_path, FLM_EMULATOR_FAULT="pull-slow:30")
    log = tmp_path / "pull.log"
    with log.open("wb") as out, subprocess.Popen(["flm", "pull", TAG], env=env, stdout=out) as process:
        eventually("it shows progress", lambda: log.read_bytes().count(b"\r\x1b[K[FLM]  Downloading: ") >= 2)
        process.kill()
    shares = re.findall(r"Downloading: ([0-9.]+)% \(([0-9.]+)MB / 652.3MB\)", log.read_text())
    assert len(shares) >= 2 and float(shares[0][0]) < float(shares[1][0]) < 100
    assert process.returncode == -signal.SIGKILL and installed(tmp_path) == []
    part = (tmp_path / "models" / NAME / "model.q4nx").stat().st_size
    assert 0 < part < 1 << 16

    resumed = flm(tmp_path, "pull", TAG)
    assert "Present files (2):\n  - config.json\n  - model.q4nx" in resumed.stdout
    assert "Resuming download: " in resumed.stdout and resumed.returncode == 0
    assert installed(tmp_path) == [TAG]


def test_a_pull_that_is_cut_is_tried_three_times(tmp_path: Path) -> None:
    done = flm(tmp_path, "pull", TAG, FLM_EMULATOR_FAULT="pull-cut")
    assert done.returncode == 1
    assert [f"(attempt {number}/3)" in done.stdout for number in (1, 2, 3)] == [True] * 3
    assert done.stdout.endswith(f"[ERROR]  Failed to download model files.\n[ERROR]  Failed to pull model: {TAG}\n")
    assert done.stderr.count("CURL error: Transferred a partial file\n") == 3
    assert f"Failed to download: https://huggingface.co/FastFlowLM/{NAME}/resolve/main/model.q4nx" in done.stderr


def test_a_pull_that_is_cut_once_succeeds(tmp_path: Path) -> None:
    done = flm(tmp_path, "pull", TAG, FLM_EMULATOR_FAULT="pull-cut:1")
    assert done.returncode == 0 and "(attempt 1/3)" in done.stdout and "Resuming download" in done.stdout
    assert installed(tmp_path) == [TAG]


def test_a_pull_with_the_wrong_hash(tmp_path: Path) -> None:
    done = flm(tmp_path, "pull", TAG, FLM_EMULATOR_FAULT="pull-corrupt")
    assert done.returncode == 1 and done.stdout.count("[FLM]  Hash not matched!\n") == 3
    assert not (tmp_path / "models" / NAME / "model.q4nx").exists()


def test_a_pull_without_a_network_ends_with_zero(tmp_path: Path) -> None:
    done = flm(tmp_path, "pull", TAG, FLM_EMULATOR_FAULT="offline")
    assert done.returncode == 0 and done.stderr.startswith("CURL error: ")
    assert done.stdout.endswith(f"[FLM]  No files to download for model: {TAG}\n")
    assert "[ERROR]  Error building download list: [json.exception.parse_error.101]" in done.stdout
    assert installed(tmp_path) == []


def test_a_model_that_is_too_new_ends_the_program_with_zero(tmp_path: Path) -> None:
    flm(tmp_path, "pull", TAG)
    (tmp_path / "models" / NAME / "config.json").write_text('{"flm_version": "9.0.0"}')
    done = flm(tmp_path, "serve", TAG)
    assert done.returncode == 0
    assert "[WARNING]  Local model version: 9.0.0 > 0.9.45\n" in done.stdout


def test_a_warning_before_the_list(tmp_path: Path) -> None:
    out = flm(tmp_path, "list", "--json", FLM_EMULATOR_FAULT="list-warning").stdout
    warning, brace, rest = out.partition("{")
    entries = json.loads(brace + rest)["models"]
    assert warning.startswith("[WARNING]") and "whisper-v3:turbo" in [entry["model"] for entry in entries]
    assert [entry["name"] for entry in entries][0] == "deepseek-r1:8b"
    assert all(entry["installed"] is False and entry["files"] == FILES for entry in entries)


@pytest.mark.parametrize(
    ("fault", "wrong", "says"),
    [
        ("driver-missing", "amd_device_found", "No NPU device found."),
        ("driver-too-old", "kernel_ok", "amdxdna version 0.5 is incompatible"),
        ("kernel-too-old", "kernel_ok", "Kernel: 6.14.0-generic"),
        ("firmware-too-old", "all_fw_ok", "NPU firmware version on /dev/accel/accel0 is incompatible."),
        ("few-columns", "enough_cols", "does not have enough columns (4 < 8)"),
        ("memlock-low", "memlock_ok", "Memlock limit is too low (8MB)."),
    ],
)
def test_what_validate_finds(tmp_path: Path, fault: str, wrong: str, says: str) -> None:
    verdicts = ("amd_device_found", "kernel_ok", "all_fw_ok", "enough_cols", "memlock_ok")
    done = flm(tmp_path, "validate", "--json", FLM_EMULATOR_FAULT=fault)
    record = json.loads(done.stdout)
    assert done.returncode == 1 and record["ready"] is False
    assert [name for name in verdicts if not record[name]] == [wrong]

    told = flm(tmp_path, "validate", FLM_EMULATOR_FAULT=fault)
    assert told.returncode == 1 and says in told.stdout + told.stderr


def test_a_machine_that_is_ready(tmp_path: Path) -> None:
    done = flm(tmp_path, "validate", "--json", FLM_EMULATOR_FAULT="xrt-missing")
    record = json.loads(done.stdout)
    assert done.returncode == 0 and record["ready"] is True and record["memlock_limit"] == "infinity"
    assert record["devices"][0]["cols"] == 8 and record["drm_version"] == "0.6"
