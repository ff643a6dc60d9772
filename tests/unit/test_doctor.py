"""The pieces of `hal0 doctor` that need no engine."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner, Result

from providers.errors import ProviderError
from providers.pulling import ModelUnavailable
from providers.registry import PROVIDERS
from serve_app.cli import main
from serve_app.dispatch import NotBegun
from serve_app.doctor.checklist import Checklist, Failed, Verdict
from serve_app.doctor.paste import without_home
from serve_app.errors import LoadFailed


def doctor(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words])


def test_it_tells_what_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho '  Vulkan0: A GPU (1 MiB, 1 MiB free)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    lines = doctor()
    assert lines.exit_code == 0, lines.output
    rows = {line[:14].strip(): line[14:] for line in lines.output.splitlines()}
    assert {"versions", "system", "processor", "memory", "devices"} <= set(rows)
    assert set(rows) >= {name for one in PROVIDERS.values() for name in one.programs}
    assert rows["llama-server"] == str(program)
    assert rows["devices"] == "cpu, vulkan"
    record = json.loads(doctor("--json").output)
    assert record["programs"]["llama-server"] == str(program)
    assert record["devices"] == ["cpu", "vulkan"] and record["memory_bytes"] > 2**20


def test_a_machine_without_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = doctor().output
    assert "llama-server  not on PATH" in told and "devices       cpu\n" in told


@pytest.mark.parametrize("words", [("--model", "qwen3:4b"), ("--pull",), ("--json", "--pull", "--model", "qwen3:0.6b")])
def test_what_only_the_npu_needs_is_refused_without_it(words: tuple[str, ...]) -> None:
    told = doctor(*words)
    assert told.exit_code == 2
    assert all(f"{word} is for the NPU" in told.output for word in words if word in ("--model", "--pull")), told.output
    assert "add --npu" in told.output and "versions" not in told.output


async def fails(error: Exception) -> str:
    raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Failed("no text"), "no text"),
        (ProviderError("raise memlock"), "raise memlock"),
        (ModelUnavailable("offline", "no network"), "no network"),
        (LoadFailed("doctor", "engine_exited", "it died"), "it died"),
        (aiohttp.ServerDisconnectedError(), "the connection broke: Server disconnected"),
        (NotBegun("ClientConnectorError: refused"), "the engine went away before it answered"),
        (KeyError("choices"), "not of the form that is expected: 'choices'"),
        (RuntimeError("closed"), "unforeseen: closed"),
        (RuntimeError(), "unforeseen: without a word"),
    ],
)
async def test_a_check_that_fails_says_why(error: Exception, words: str) -> None:
    told: list[str] = []
    checks = Checklist(told.append)
    assert not await checks.check("chat", lambda: fails(error), 10)
    [line] = told
    assert line.startswith("FAILED  chat ") and words in line
    assert type(error).__name__ not in line and "ClientConnectorError" not in line
    assert not checks.passed


async def test_a_check_has_a_limit() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    checks = Checklist(lambda _line: None)
    assert not await checks.check("chat", never, 0.01)
    assert checks.made[0].detail == "no answer within 0.01 s"


async def test_all_checks_must_be_made() -> None:
    async def well() -> str:
        return "fine"

    told: list[str] = []
    checks = Checklist(told.append)
    assert not checks.passed
    assert await checks.check("chat", well, 10)
    assert checks.passed and told == ["ok      chat          fine (0.0 s)"]
    checks.skip("stop", "not loaded")
    assert not checks.passed and told[1] == "skipped stop          not loaded"
    assert [one.verdict for one in checks.made] == [Verdict.OK, Verdict.SKIPPED]


def test_meanwhile_only_what_is_new_is_told_at_once() -> None:
    told: list[str] = []
    checks = Checklist(told.append)
    for topic, line in (("pulling", "1%"), ("pulling", "2%"), ("warming", "it loads"), ("warming", "it loads on")):
        checks.meanwhile(topic, line)
    assert [line.strip() for line in told] == ["1%", "it loads"]


async def test_whoever_stops_it_is_heard() -> None:
    checks = Checklist(lambda _line: None)
    waiting = asyncio.create_task(checks.check("chat", asyncio.Event().wait, 10))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_the_home_folder_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert without_home("at /home/somebody/.cache") == "at ~/.cache"
    monkeypatch.setenv("HOME", "/")
    assert without_home("/a/b") == "/a/b"
