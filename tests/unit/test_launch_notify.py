"""What systemd is told, the unit that it is told by, and what plain Serve is told."""

import configparser
import logging
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.cli import main
from serve_app.launch.advice import advise_plain_serve
from serve_app.launch.notify import READY, STOPPING, notify
from serve_app.launch.up_run import START_TIMEOUT_S

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "hal0.service"


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_it(tmp_path: Path, abstract: bool) -> None:
    name = f"@hal0-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name[1:]}" if abstract else name)
        systemd.settimeout(10)
        for state in (READY, STOPPING):
            notify(state, {"NOTIFY_SOCKET": name})
            assert systemd.recv(100).decode() == state


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "vsock:2:1234"])
def test_without_systemd_nothing_happens(address: str) -> None:
    notify(READY, {"NOTIFY_SOCKET": address})
    notify(READY, {})


def test_the_unit_is_made_for_what_hal0_up_does() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"], service["KillMode"]) == ("notify", "main", "mixed")
    program, command, config = service["ExecStart"].split()
    assert program.endswith("/.venv/bin/hal0") and command in main.commands
    assert (ROOT / "configs" / Path(config).name).exists()
    assert float(service["TimeoutStartSec"]) > START_TIMEOUT_S
    assert float(service["TimeoutStopSec"]) > 45
    assert service["Restart"] == "on-failure"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "hal0.service"
    copy.write_text(UNIT.read_text().replace("/opt/hal0/.venv/bin/hal0", sys.executable))
    verified = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    complaints = [line for line in verified.stderr.splitlines() if "hal0.service" in line]
    assert (complaints, verified.returncode) == ([], 0), verified.stderr


def test_plain_serve_is_told_what_it_would_gain_and_hal0_up_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hal0"):
        advise_plain_serve({"HAL0_UP": "abc"})
        assert not caplog.messages
        advise_plain_serve({})
    [line] = caplog.messages
    assert "hal0 up" in line and "\n" not in line
