"""The provider and an emulated engine: how it is asked, put to sleep and woken, and what stands in its way before."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from providers.base import Endpoint, HealthState, ModelFiles, Node
from providers.errors import ProviderError
from providers.vllm.options import VllmSlot
from providers.vllm.provider import Vllm
from tests.support.vllm import BIN, model_folder, serving, variables

PATIENCE_S = 30.0
USER = [{"role": "user", "content": "hi"}]
ANSWER = "Hello from the emulated vLLM!"


def slot(**more: Any) -> VllmSlot:
    given = {"name": "s", "provider": "vllm", "model": "m", "capabilities": ["chat"], "device": "cuda"}
    return VllmSlot.model_validate(given | more)


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "faults"


@asynccontextmanager
async def ready(given: VllmSlot, folder: Path, faults: Path) -> AsyncIterator[Endpoint]:
    model = ModelFiles(model_folder(folder / "model"))
    with serving(given, model, faults, folder / "log") as (endpoint, process):
        deadline = time.monotonic() + PATIENCE_S
        while (await Vllm().health(endpoint)).state is not HealthState.READY:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        yield endpoint


async def chat(endpoint: Endpoint) -> str:
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    async with (
        aiohttp.ClientSession(endpoint.url, headers=headers) as http,
        http.post("/v1/chat/completions", json={"model": "s", "messages": USER}) as response,
    ):
        answer = await response.json()
        return str(answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize("level", [1, 2])
async def test_a_request_waits_until_it_is_woken(level: int, tmp_path: Path, faults: Path) -> None:
    """At level 2 its weights are read anew, which its answer would show."""
    given = slot(options={"sleep_when_idle": True, "sleep_level": level})
    async with ready(given, tmp_path, faults) as endpoint:
        assert Vllm().may_sleep(given)
        await Vllm().sleep(given, endpoint)
        waiting = asyncio.create_task(chat(endpoint))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.2)
        await Vllm().wake(given, endpoint)
        assert await waiting == ANSWER


@pytest.mark.parametrize(("fault", "word"), [("stays-awake", "False"), ("stays-asleep", "True")])
async def test_one_that_does_not_do_so_is_an_error(fault: str, word: str, tmp_path: Path, faults: Path) -> None:
    given = slot(options={"sleep_when_idle": True})
    async with ready(given, tmp_path, faults) as endpoint:
        if fault == "stays-asleep":
            await Vllm().sleep(given, endpoint)
        faults.write_text(fault)
        act = Vllm().wake if fault == "stays-asleep" else Vllm().sleep
        with pytest.raises(ProviderError, match=word):
            await act(given, endpoint)


async def test_one_that_may_not_sleep_has_no_such_routes(tmp_path: Path, faults: Path) -> None:
    given = slot()
    async with ready(given, tmp_path, faults) as endpoint:
        assert not Vllm().may_sleep(given)
        with pytest.raises(ProviderError, match="404"):
            await Vllm().sleep(given, endpoint)


async def test_who_answers_another_key_is_another_server(tmp_path: Path, faults: Path) -> None:
    async with ready(slot(), tmp_path, faults) as endpoint:
        health = await Vllm().health(Endpoint(endpoint.url, "another"))
        assert (health.state, health.detail) == (HealthState.DEAD, "another server answers on its port")


async def test_its_words_tell_progress_and_what_to_do(tmp_path: Path, faults: Path) -> None:
    faults.write_text("cache-too-small")
    model = ModelFiles(model_folder(tmp_path / "model"))
    with serving(slot(), model, faults, tmp_path / "log") as (_, process):
        assert process.wait(PATIENCE_S) == 1
    output = (tmp_path / "log").read_text()
    assert Vllm().load_progress(output) == pytest.approx(0.7)
    advice = Vllm().advice(output)
    assert advice is not None and "context_size" in advice


def node(folder: Path, **programs: Path) -> Node:
    return Node(programs, {"PATH": os.environ["PATH"]} | variables(folder / "faults"), folder)


def python_with_vllm(folder: Path, version: str | None) -> str:
    """A Python that has a vLLM of this version as far as `importlib.metadata` knows, or none."""
    site = folder / "site"
    if version is not None:
        info = site / f"vllm-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} -S "$@"\n')
    program.chmod(0o755)
    return str(program)


async def test_before_a_load_a_python_with_vllm_is_fine(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await Vllm().preflight(slot(options={"python": python_with_vllm(tmp_path, "0.32.0")}), node(tmp_path))
    assert not caplog.records


async def test_another_version_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await Vllm().preflight(slot(options={"python": python_with_vllm(tmp_path, "0.31.1")}), node(tmp_path))
    assert "vLLM 0.31.1" in caplog.text


async def test_a_python_without_vllm(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="has no vLLM .*scripts/vllm-venv"):
        await Vllm().preflight(slot(options={"python": python_with_vllm(tmp_path, None)}), node(tmp_path))


@pytest.mark.parametrize("options", [{}, {"binary": "/nowhere/vllm"}, {"python": "/nowhere/python"}])
async def test_no_program(options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="Install it"):
        await Vllm().preflight(slot(options=options), node(tmp_path))


async def test_a_program_that_is_no_python_script_is_not_looked_into(tmp_path: Path) -> None:
    await Vllm().preflight(slot(), node(tmp_path, vllm=BIN / "vllm"))


async def test_the_emulator_refuses_what_vllm_does_not_know(tmp_path: Path, faults: Path) -> None:
    given = slot(options={"extra_args": ["--nonsense", json.dumps({})]})
    with serving(given, ModelFiles(model_folder(tmp_path / "model")), faults, tmp_path / "log") as (_, process):
        assert process.wait(PATIENCE_S) == 2
    advice = Vllm().advice((tmp_path / "log").read_text())
    assert advice is not None and "extra_args" in advice
