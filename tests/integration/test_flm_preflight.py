"""The emulated `flm` asked whether this machine can run models, as it is and with each of its faults."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from providers.base import Node
from providers.capabilities import Capability
from providers.errors import ProviderError
from providers.flm import asking
from providers.flm.detection import npu_found
from providers.flm.options import FlmOptions, FlmSlot
from providers.flm.preflight import preflight
from tests.support.flm import FOLDER, environment

pytestmark = pytest.mark.engine

FLM = FOLDER / "flm"


def slot(**options: object) -> FlmSlot:
    return FlmSlot(
        name="npu",
        provider="flm",
        model="qwen3:0.6b",
        capabilities=(Capability.CHAT,),
        options=FlmOptions.model_validate(options),
    )


def node(home: Path, program: Path | None = FLM, **more: str) -> Node:
    """`more` is environment."""
    programs: Mapping[str, Path] = {} if program is None else {"flm": program}
    return Node(programs, environment(home, **more), home / "cache")


def script(folder: Path, body: str) -> Path:
    program = folder / "flm"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return program


async def refused(one: FlmSlot, here: Node) -> str:
    with pytest.raises(ProviderError) as told:
        await preflight(one, here)
    return str(told.value)


async def test_a_machine_that_is_ready(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await preflight(slot(), node(tmp_path))
    assert not caplog.records


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("driver-missing", ["/dev/accel/accel0", "lsmod | grep amdxdna"]),
        ("driver-too-old", ["amdxdna 0.5", "0.6"]),
        ("kernel-too-old", ["Linux 6.14.0-generic", "6.17"]),
        ("firmware-too-old", ["1.0.0.63", "1.1"]),
        ("few-columns", ["4 columns", "XDNA 2"]),
        ("memlock-low", ["8 MiB", "LimitMEMLOCK=infinity"]),
        ("kernel-too-old,memlock-low", ["6.14", "8 MiB"]),
    ],
)
async def test_each_problem_of_the_machine_is_told(tmp_path: Path, fault: str, words: list[str]) -> None:
    told = await refused(slot(env={"FLM_EMULATOR_FAULT": fault}), node(tmp_path))
    assert all(word in told for word in words), told


async def test_what_validate_does_not_see_is_no_reason(tmp_path: Path) -> None:
    await preflight(slot(), node(tmp_path, FLM_EMULATOR_FAULT="xrt-missing,npu-busy,broken-models"))


async def test_an_old_version_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await preflight(slot(), node(tmp_path, FLM_EMULATOR_VERSION="0.9.40"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "0.9.40" in caplog.text and "'npu'" in caplog.text


async def test_a_report_in_unknown_terms_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await preflight(slot(), node(tmp_path, script(tmp_path, "echo all is well; exit 1")))
    assert "all is well" in caplog.text


async def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "options.binary" in await refused(slot(), node(tmp_path, None))
    nothing = tmp_path / "nothing"
    assert f"'{nothing}' cannot be run: No such file" in await refused(slot(binary=str(nothing)), node(tmp_path))
    (tmp_path / "text").touch()
    assert "Permission denied" in await refused(slot(binary=str(tmp_path / "text")), node(tmp_path))
    contained = await refused(slot(container={"image": "flm"}), node(tmp_path, None, PATH=str(tmp_path)))
    assert "Install podman, or set `runtime: docker`" in contained


HANGS = "echo $$ >> pids; sleep 600 & echo $! >> pids; wait"


def living(folder: Path) -> list[int]:
    """Of the processes that `HANGS` has written down."""
    written = folder / "pids"
    # On a busy machine it may have been ended before its first line.
    pids = [int(line) for line in written.read_text().split()] if written.exists() else []
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and not zombie(pid)]


def zombie(pid: int) -> bool:
    """Without a parent that asks for it: this container has no init that would."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def hanging(folder: Path) -> Path:
    return script(folder, HANGS.replace("pids", str(folder / "pids")))


async def until_both_run(folder: Path) -> None:
    async with asyncio.timeout(20):
        while not (folder / "pids").exists() or len((folder / "pids").read_text().split()) < 4:
            await asyncio.sleep(0.01)


async def test_a_program_that_hangs_is_ended_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LIMIT_S", 0.5)
    told = await refused(slot(), node(tmp_path, hanging(tmp_path)))
    assert "gave no answer within 0.5 s" in told and "dmesg" in told
    assert living(tmp_path) == []


async def test_cancelled_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LIMIT_S", 600)
    checking = asyncio.create_task(preflight(slot(), node(tmp_path, hanging(tmp_path))))
    await until_both_run(tmp_path)
    assert len(living(tmp_path)) == 4
    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    assert living(tmp_path) == []


async def test_a_container_that_hangs_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "CONTAINER_LIMIT_S", 0.5)
    script(tmp_path, f'[ "$1" = rm ] && echo "$@" >> {tmp_path}/removed && exit; sleep 600').rename(tmp_path / "podman")
    here = node(tmp_path, None, PATH=f"{tmp_path}:/usr/bin:/bin")
    told = await refused(slot(container={"image": "flm"}), here)
    assert "gave no answer" in told
    removed = (tmp_path / "removed").read_text().split()
    assert {"hal0-npu-validate", "hal0-npu-version"} <= set(removed)


def test_an_npu_is_found_where_validate_is_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    assert npu_found(FLM)
    monkeypatch.setenv("FLM_EMULATOR_FAULT", "driver-missing")
    assert not npu_found(FLM)


def test_other_programs_find_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not npu_found(tmp_path / "nothing")
    assert not npu_found(script(tmp_path, "echo files"))
    monkeypatch.setattr("providers.flm.detection.LIMIT_S", 0.2)
    assert not npu_found(hanging(tmp_path))
    assert living(tmp_path) == []
