"""The embedded engine as a slot starts it: it answers, or ends with the reason on stderr."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import xllamacpp  # type: ignore[import-untyped]

from providers.base import Endpoint, Health, HealthState, ModelFiles, Placement
from providers.devices import Device
from providers.llamacpp.embedded import parameters
from providers.llamacpp.embedded_arguments import SWITCHES, VALUES, parse_arguments
from providers.llamacpp.options import LlamaCppSlot
from providers.llamacpp.provider import LlamaCpp
from providers.tiny import make_demo_models
from tests.support.server import free_port

pytestmark = pytest.mark.engine

LLAMA_CPP = LlamaCpp()
TOKEN = "token-of-this-load"
KEY = {"Authorization": f"Bearer {TOKEN}"}
ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 1.0
POLL_S = 0.005


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_demo_models(tmp_path_factory.mktemp("models"))


class Engine:
    """A process with a slot's own argv and environment."""

    def __init__(self, model: Path, extra: tuple[str, ...], port: int, **more: Any) -> None:
        given: dict[str, Any] = {"name": "s", "provider": "llama.cpp", "model": "m", "capabilities": ["chat"]}
        slot = LlamaCppSlot.model_validate(given | {"context_size": 512} | more)
        files = ModelFiles(model, {"mmproj": model.with_name("tiny-mmproj.gguf")} if slot.companions else {})
        placement = Placement(
            Device.CPU, "127.0.0.1", port, TOKEN, model.parent, base_env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
        )
        self.endpoint = Endpoint(f"http://127.0.0.1:{port}", TOKEN)
        self.popen = subprocess.Popen(
            (*LLAMA_CPP.start_cmd(slot, files, placement).argv, *extra),
            cwd=ROOT,
            env=LLAMA_CPP.build_env(slot, files, placement),
            stderr=subprocess.PIPE,
            text=True,
        )

    def health(self) -> Health:
        return asyncio.run(LLAMA_CPP.health(self.endpoint))

    def wait_until_ready(self) -> list[HealthState]:
        """The states on the way there, each once."""
        seen: list[HealthState] = []
        deadline = time.monotonic() + START_TIMEOUT_S
        while HealthState.READY not in seen:
            assert self.popen.poll() is None and time.monotonic() < deadline, seen
            if (state := self.health().state) not in seen:
                seen.append(state)
            time.sleep(POLL_S)
        return seen

    def request(self, method: str, path: str, body: object = None, key: bool = True) -> httpx.Response:
        with httpx.Client(base_url=self.endpoint.url, timeout=30, trust_env=False) as client:
            return client.request(method, path, json=body, headers=KEY if key else {})

    def ended(self, timeout_s: float = START_TIMEOUT_S) -> tuple[int, str]:
        """Exit code and stderr."""
        _, errors = self.popen.communicate(timeout=timeout_s)
        return self.popen.returncode, errors


@contextmanager
def started(model: Path, *extra: str, port: int | None = None, **more: Any) -> Iterator[Engine]:
    engine = Engine(model, extra, port or free_port(), **more)
    try:
        yield engine
    finally:
        engine.popen.kill()
        engine.popen.communicate()


@pytest.fixture(scope="module")
def chat(models: dict[str, Path]) -> Iterator[Engine]:
    with started(models["tiny-chat.gguf"]) as engine:
        assert engine.wait_until_ready()[0] is HealthState.STARTING
        yield engine


def test_a_chat(chat: Engine) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    answer = chat.request("POST", "/v1/chat/completions", body).json()
    assert answer["choices"][0]["message"]["content"] == "Hello from the tiny model!!"
    assert answer["model"] == "s"


@pytest.mark.parametrize("path", ["/props", "/slots"])
def test_only_who_has_the_key_gets_an_answer(chat: Engine, path: str) -> None:
    assert chat.request("GET", path).status_code == 200
    assert chat.request("GET", path, key=False).status_code == 401


def test_each_request_has_the_whole_context(chat: Engine) -> None:
    slots = chat.request("GET", "/slots").json()
    assert [slot["n_ctx"] for slot in slots] == [512, 512]


@pytest.mark.parametrize(
    ("capabilities", "model", "path", "body"),
    [
        (["embedding"], "tiny-embed.gguf", "/v1/embeddings", {"input": "a text"}),
        (["rerank"], "tiny-rerank.gguf", "/v1/rerank", {"query": "q", "documents": ["a", "b"]}),
        (
            ["chat", "vision"],
            "tiny-chat.gguf",
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "x"}]},
        ),
    ],
)
def test_other_kinds_of_models(
    models: dict[str, Path], capabilities: list[str], model: str, path: str, body: object
) -> None:
    companions = {"mmproj": "p"} if "vision" in capabilities else {}
    with started(models[model], capabilities=capabilities, companions=companions, context_size=64) as engine:
        engine.wait_until_ready()
        assert engine.request("POST", path, body).status_code == 200


def test_a_port_that_is_taken(models: dict[str, Path], chat: Engine) -> None:
    port = int(chat.endpoint.url.rpartition(":")[2])
    with started(models["tiny-chat.gguf"], port=port) as late:
        code, errors = late.ended()
    assert (code, "couldn't bind HTTP server socket" in errors) == (1, True), errors


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (("--bogus", "3"), "unrecognized arguments: --bogus 3"),
        (("-c99",), "unrecognized arguments: -c99"),
        (("--ctx", "99"), "unrecognized arguments: --ctx"),
        (("positional",), "unrecognized arguments: positional"),
        (("--temp", "warm"), "invalid float value: 'warm'"),
        (("--n-predict", "99999999999"), "an argument is out of range"),
        (("--device", "Vulkan0"), "no device 'Vulkan0' (it has CPU"),
        (("--chat-template-file", "/nowhere/t.jinja"), "the file cannot be read"),
        (("--media-path", "/nowhere"), "not a directory: '/nowhere'"),
        (("--mmproj", "/nowhere/p.gguf"), "error"),
    ],
)
def test_a_wrong_argument(models: dict[str, Path], extra: tuple[str, ...], reason: str) -> None:
    with started(models["tiny-chat.gguf"], *extra) as engine:
        code, errors = engine.ended()
    assert code == 1
    assert reason in errors and "Traceback" not in errors


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is not a GGUF file: it begins with b''"),
        (b"GG", "is not a GGUF file: it begins with b'GG'"),
        (b"PK\3\4" + bytes(100), "is not a GGUF file: it begins with b'PK"),
    ],
)
def test_no_model(tmp_path: Path, content: bytes | None, reason: str) -> None:
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    with started(model) as engine:
        code, errors = engine.ended()
    assert (code, reason in errors) == (1, True), errors


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with started(tmp_path) as engine:
        assert engine.ended() == (1, f"error: the model file '{tmp_path}' cannot be read: Is a directory\n")


@pytest.mark.parametrize("kept", [4, 24, 1000, 0.25, 0.5, 0.999])
def test_a_truncated_model(models: dict[str, Path], tmp_path: Path, kept: float) -> None:
    whole = models["tiny-chat.gguf"].read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    with started(cut) as engine:
        code, errors = engine.ended()
    assert code == 1
    assert "model loading error" in errors and "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(models: dict[str, Path], number: signal.Signals) -> None:
    with started(models["tiny-chat.gguf"]) as engine:
        engine.wait_until_ready()
        engine.popen.send_signal(number)
        assert engine.ended(STOP_TIMEOUT_S)[0] == -number


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.1, 0.2])
def test_a_signal_while_loading(models: dict[str, Path], after_s: float) -> None:
    with started(models["tiny-chat.gguf"]) as engine:
        time.sleep(after_s)
        engine.popen.terminate()
        code, errors = engine.ended(STOP_TIMEOUT_S)
    assert code == -signal.SIGTERM, errors


def test_a_request_in_flight_does_not_hold_it(models: dict[str, Path]) -> None:
    with started(models["tiny-loop.gguf"]) as engine:
        engine.wait_until_ready()
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        with (
            httpx.Client(base_url=engine.endpoint.url, timeout=30, trust_env=False, headers=KEY) as client,
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            next(answer.iter_raw())
            engine.popen.terminate()
            assert engine.ended(STOP_TIMEOUT_S)[0] == -signal.SIGTERM


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HealthState.READY),
        (b"HTTP/1.1 503 Loading\r\nContent-Length: 0\r\n\r\n", HealthState.WARMING),
        (b"HTTP/1.1 404 What\r\nContent-Length: 0\r\n\r\n", HealthState.DEAD),
        (b"not HTTP at all\r\n\r\n", HealthState.STARTING),
        (b"", HealthState.STARTING),
    ],
)
async def test_health_of_anything_that_listens(answer: bytes, state: HealthState) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await LLAMA_CPP.health(Endpoint(f"http://127.0.0.1:{port}", TOKEN))).state is state


async def test_health_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.health.PROBE_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}", TOKEN)
        assert (await LLAMA_CPP.health(endpoint)).state is HealthState.STARTING


def test_the_engine_starts_without_the_servers_libraries() -> None:
    heavy = ("ray", "aiohttp", "pydantic", "numpy")
    code = f"import sys, providers.llamacpp.embedded; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (answer.stdout, answer.stderr) == ("[]\n", "")


EXAMPLES: dict[Callable[[str], object], str] = {str: "text", int: "1", float: "0.5"}


@pytest.mark.parametrize(("flags", "target"), VALUES.items())
def test_every_argument_with_a_value_reaches_the_engine(
    flags: str, target: tuple[str, Callable[[str], object]], tmp_path: Path
) -> None:
    path, kind = target
    file = tmp_path / "file"
    file.write_text("text")
    text = EXAMPLES.get(kind) or {"_folder": str(tmp_path), "_text_of": str(file), "_seed": "-1"}[kind.__name__]
    for flag in flags.split():
        assert _setting(path, [flag, text]) == pytest.approx(kind(text))


@pytest.mark.parametrize(("flags", "target"), SWITCHES.items())
def test_every_switch_reaches_the_engine(flags: str, target: tuple[str, bool]) -> None:
    path, expected = target
    for flag in flags.split():
        assert _setting(path, [flag]) is expected


@pytest.mark.parametrize(
    "argv",
    [
        *(["--flash-attn", name] for name in ("auto", "on", "off")),
        *(["--pooling", name] for name in ("none", "mean", "cls", "last", "rank")),
        *(
            ["--cache-type-k", name]
            for name in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
        ),
        *(["--reasoning-format", name] for name in ("none", "auto", "deepseek", "deepseek-legacy")),
        ["--reranking"],
    ],
    ids=" ".join,
)
def test_the_engine_knows_every_choice(argv: list[str]) -> None:
    parameters(parse_arguments(argv), xllamacpp)


def _setting(path: str, argv: list[str]) -> Any:
    found: Any = parameters(parse_arguments(argv), xllamacpp)
    for name in path.split("."):
        found = getattr(found, name)
    return found
