"""`hal0 doctor --npu` as a user runs it, on the emulated `flm`."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from serve_app.doctor.command import doctor
from tests.support.flm import environment, flm
from tests.support.server import eventually, owned_processes

pytestmark = pytest.mark.engine

HAL0 = str(Path(sys.executable).with_name("hal0"))
TAGS = ("qwen3:0.6b", "whisper-v3:turbo", "embed-gemma:300m")
NAMES = (
    "flm",
    "NPU",
    "models",
    "load",
    "chat",
    "streamed chat",
    "embeddings",
    "transcription",
    "all at once",
    "stop",
)
END_S = 60.0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where flm has all that is tried."""
    home = tmp_path_factory.mktemp("flm")
    for tag in TAGS:
        assert flm(home, "pull", tag).returncode == 0
    return home


class Doctor:
    def __init__(self, folder: Path, models: Path, *words: str, **env: str) -> None:
        """`folder`: its HAL0_HOME, by which all of its processes are known."""
        self.folder = folder
        home = {"HAL0_HOME": str(folder), "HOME": str(folder)}
        self.process = subprocess.Popen(
            [HAL0, "doctor", "--npu", *words],
            env=environment(models, **home, **env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self) -> tuple[int, str]:
        try:
            output, _ = self.process.communicate(timeout=END_S)
        finally:
            self.process.kill()
        eventually("nothing is left of it", lambda: not owned_processes(self.folder), 10)
        return self.process.returncode, output


def told(folder: Path, models: Path, *words: str, **env: str) -> tuple[int, str]:
    """In this process, whose imports are made: of what ends early they take most of the time."""
    home = {"HAL0_HOME": str(folder), "HOME": str(folder)}
    done = CliRunner().invoke(doctor, ["--npu", *words], env=environment(models, **home, **env))
    eventually("nothing is left of it", lambda: not owned_processes(folder), 10)
    return done.exit_code, done.output


def verdicts(output: str) -> dict[str, str]:
    """Of each check by its name."""
    lines = output.partition("\nPaste this")[0].splitlines()
    return {line[8:22].strip(): line[:8].strip() for line in lines if line[:8].strip() in ("ok", "FAILED", "skipped")}


def test_all_is_well(tmp_path: Path, models: Path) -> None:
    code, output = Doctor(tmp_path, models).end()
    assert verdicts(output) == dict.fromkeys(NAMES, "ok"), output
    assert code == 0
    for words in ("version 0.9.45", "8 columns", "tokens/s", "2 vectors of 768 numbers", "alpha bravo charlie"):
        assert words in output
    block = output.partition("Paste this into a report:\n")[2]
    assert "### hal0 doctor --npu: passed" in block and "| all at once | ok |" in block
    assert '"kernel":"6.17.0-generic"' in block and "Ray 2." in block
    assert str(tmp_path) not in block


def test_as_one_object(tmp_path: Path, models: Path) -> None:
    code, output = Doctor(tmp_path, models, "--json", FLM_EMULATOR_FAULT="list-warning").end()
    record = json.loads(output)
    assert (code, record["npu"]["passed"]) == (0, True)
    assert [one["name"] for one in record["npu"]["checks"]] == list(NAMES)
    assert record["npu"]["version"] == "0.9.45" and "load" in record["npu"]["figures"]


@pytest.mark.parametrize(
    ("fault", "failed", "words"),
    [
        ("driver-missing", "NPU", "/dev/accel/accel0"),
        ("xrt-missing", "load", "plug-in"),
        ("broken-models", "load", "too few contexts"),
        ("crash-at-load", "load", "dmesg"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, models: Path, fault: str, failed: str, words: str) -> None:
    code, output = told(tmp_path, models, FLM_EMULATOR_FAULT=fault)
    found = verdicts(output)
    assert code == 1 and set(found) == set(NAMES)
    assert [name for name, verdict in found.items() if verdict == "FAILED"] == [failed], output
    [line] = [line for line in output.splitlines() if line.startswith("FAILED")]
    assert words in line
    assert "Traceback" not in output


@pytest.mark.parametrize(("request_number", "failed"), [(4, 0), (5, 1), (6, 2), (7, 3)])
def test_an_engine_that_crashes_under_requests_is_told(
    tmp_path: Path, models: Path, request_number: int, failed: int
) -> None:
    """Three requests come before the first: the load's."""
    code, output = told(tmp_path, models, FLM_EMULATOR_FAULT=f"crash-after:{request_number}")
    asked = NAMES[NAMES.index("chat") : NAMES.index("stop")]
    expected = [*["ok"] * failed, "FAILED", *["skipped"] * (len(asked) - failed - 1)]
    found = verdicts(output)
    assert (code, [found[name] for name in asked], found["stop"]) == (1, expected, "ok"), output
    lines, _, block = output.partition("\nPaste this")
    ended = [line for line in lines.splitlines() if line.startswith(("FAILED", "skipped"))]
    assert all("ended by signal 6 (Aborted)" in line for line in ended), output
    assert "malloc_consolidate()" in block
    assert not re.search(r"\w(Error|Begun)\b", lines) and "Traceback" not in output


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    nowhere = Path("/proc/hal0")
    code, output = told(tmp_path, nowhere, "--pull")
    assert code == 1 and verdicts(output)["models"] == "FAILED"
    assert f"written to {nowhere}/models" in output and "FLM_MODEL_PATH" in output
    assert "slot again" not in output and "Errno" not in output


def test_models_that_are_missing_are_fetched_only_if_that_is_allowed(tmp_path: Path) -> None:
    empty = tmp_path / "models"
    empty.mkdir()
    code, output = told(tmp_path / "home", empty)
    assert code == 1 and verdicts(output)["models"] == "FAILED"
    assert all(tag in output for tag in TAGS) and "--pull" in output
    assert not list(empty.rglob("*.q4nx"))
    code, output = told(tmp_path / "home", empty, "--pull")
    assert (code, set(verdicts(output).values())) == (0, {"ok"}), output


def test_a_tag_that_is_none_is_refused(tmp_path: Path, models: Path) -> None:
    code, output = told(tmp_path, models, "--model", "whisper-v3:turbo")
    assert code == 2 and "flm list" in output and "Traceback" not in output


def test_a_model_that_flm_does_not_know_is_told(tmp_path: Path, models: Path) -> None:
    code, output = told(tmp_path, models, "--model", "qwen3:99b")
    assert code == 1 and verdicts(output)["models"] == "FAILED"
    assert "qwen3:99b" in output and "qwen3:4b" in output


def test_without_the_program_nothing_is_tried(tmp_path: Path, models: Path) -> None:
    code, output = told(tmp_path, models, PATH=os.defpath)
    assert code == 1 and verdicts(output)["flm"] == "FAILED" and "skipped" in output


def test_ctrl_c_stops_the_engine(tmp_path: Path, models: Path) -> None:
    one = Doctor(tmp_path, models, FLM_EMULATOR_FAULT="hang-at-load")
    eventually("its engine runs", lambda: any("serve" in line for _, line in owned_processes(tmp_path)), END_S)
    one.process.send_signal(signal.SIGINT)
    code, output = one.end()
    assert code == 130 and "stopped" in output and "Traceback" not in output
