"""llama-server's argv for a slot."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.errors import ProviderError
from providers.llamacpp.options import LlamaCppSlot
from providers.llamacpp.provider import LlamaCpp

LLAMA_CPP = LlamaCpp()
TOKEN = "token-of-this-load"
MODEL = ModelFiles(Path("/models/chat.gguf"))
ON_PATH = {"llama-server": Path("/usr/bin/llama-server")}
EMBEDDED = (sys.executable, "-m", "providers.llamacpp.embedded")
GPUS = (Device.VULKAN, Device.ROCM, Device.CUDA)


def slot(**more: Any) -> LlamaCppSlot:
    given: dict[str, Any] = {"name": "chat", "provider": "llama.cpp", "model": "m.gguf", "capabilities": ["chat"]}
    return LlamaCppSlot.model_validate(given | more)


def placement(device: Device = Device.CPU, **more: Any) -> Placement:
    given: dict[str, Any] = {"host": "127.0.0.1", "port": 9000, "token": TOKEN, "cache_dir": Path("/cache")}
    return Placement(device=device, **(given | {"cpu_threads": 3, "programs": ON_PATH} | more))


def argv(one: LlamaCppSlot, where: Placement | None = None, model: ModelFiles = MODEL) -> tuple[str, ...]:
    return LLAMA_CPP.start_cmd(one, model, where or placement()).argv


def value(arguments: tuple[str, ...], flag: str) -> str | None:
    """What follows the flag, which is there once at most."""
    assert arguments.count(flag) <= 1
    return arguments[arguments.index(flag) + 1] if flag in arguments else None


@pytest.mark.parametrize(
    ("device", "on_device"),
    [
        (Device.CPU, ("--device", "none", "--gpu-layers", "0")),
        (Device.VULKAN, ("--device", "Vulkan0", "--gpu-layers", "999")),
        (Device.ROCM, ("--device", "ROCm0", "--gpu-layers", "999")),
        (Device.CUDA, ("--device", "CUDA0", "--gpu-layers", "999")),
    ],
)
def test_the_whole_argv(device: Device, on_device: tuple[str, ...]) -> None:
    assert argv(slot(), placement(device)) == (
        "/usr/bin/llama-server",
        *("--model", "/models/chat.gguf", "--alias", "chat"),
        *("--host", "127.0.0.1", "--port", "9000", "--threads-http", "64"),
        *("--ctx-size", "8192", "--parallel", "2", "--threads", "3", "--flash-attn", "auto"),
        *("--no-webui", "--slots"),
        *on_device,
        "--jinja",
    )


def test_every_assigned_device_is_used_and_the_config_may_name_others() -> None:
    two = placement(Device.CUDA, accelerator_ids=("2", "5"))
    assert value(argv(slot(), two), "--device") == "CUDA0,CUDA1"
    assert value(argv(slot(options={"devices": ["Vulkan1"]}), placement(Device.VULKAN)), "--device") == "Vulkan1"


@pytest.mark.parametrize(("layers", "shown"), [("all", "999"), (0, "0"), (12, "12")])
@pytest.mark.parametrize("device", GPUS)
def test_layers_on_a_gpu(device: Device, layers: object, shown: str) -> None:
    assert value(argv(slot(options={"gpu_layers": layers}), placement(device)), "--gpu-layers") == shown


@pytest.mark.parametrize(
    ("options", "programs", "program"),
    [
        ({"binary": "/opt/mine"}, ON_PATH, ("/opt/mine",)),
        ({"binary": "/opt/mine"}, {}, ("/opt/mine",)),
        ({}, ON_PATH, ("/usr/bin/llama-server",)),
        ({}, {}, EMBEDDED),
    ],
)
def test_the_program_configured_then_on_path_then_embedded(
    options: dict[str, str], programs: dict[str, Path], program: tuple[str, ...]
) -> None:
    arguments = argv(slot(options=options), placement(programs=programs))
    assert arguments[: arguments.index("--model")] == program


@pytest.mark.parametrize("device", GPUS)
def test_the_embedded_engine_has_no_gpu(device: Device) -> None:
    with pytest.raises(ProviderError, match=rf"{device}.*options\.binary.*device: cpu"):
        argv(slot(), placement(device, programs={}))
    assert argv(slot(options={"binary": "mine"}), placement(device, programs={}))[0] == "mine"


@pytest.mark.parametrize(
    ("context", "parallel", "size", "http_threads"),
    [(1, 1, "1", "64"), (4096, 4, "16384", "64"), (512, 32, "16384", "128")],
)
def test_every_request_may_use_the_whole_context(context: int, parallel: int, size: str, http_threads: str) -> None:
    arguments = argv(slot(context_size=context, parallel_requests=parallel))
    assert (value(arguments, "--ctx-size"), value(arguments, "--parallel")) == (size, str(parallel))
    assert value(arguments, "--threads-http") == http_threads


@pytest.mark.parametrize(
    ("capability", "options", "kind", "batch", "ubatch"),
    [
        ("chat", {}, "--jinja", None, None),
        ("completion", {"batch_size": 64}, "--jinja", "64", None),
        ("embedding", {}, "--embeddings", "1000", "1000"),
        ("rerank", {}, "--reranking", "1000", "1000"),
        ("embedding", {"batch_size": 64, "ubatch_size": 32}, "--embeddings", "64", "32"),
    ],
)
def test_models_that_read_a_text_as_a_whole_take_it_in_one_batch(
    capability: str, options: dict[str, int], kind: str, batch: str | None, ubatch: str | None
) -> None:
    arguments = argv(slot(capabilities=[capability], context_size=1000, options=options))
    assert {"--jinja", "--embeddings", "--reranking"} & set(arguments) == {kind}
    assert (value(arguments, "--batch-size"), value(arguments, "--ubatch-size")) == (batch, ubatch)


@pytest.mark.parametrize(
    ("options", "flag", "expected"),
    [
        ({"threads": 7}, "--threads", "7"),
        ({"flash_attention": "off"}, "--flash-attn", "off"),
        ({"pooling": "cls"}, "--pooling", "cls"),
        ({"cache_type_k": "q8_0"}, "--cache-type-k", "q8_0"),
        ({"cache_type_v": "q4_0"}, "--cache-type-v", "q4_0"),
    ],
)
def test_options_become_arguments(options: dict[str, object], flag: str, expected: str) -> None:
    assert value(argv(slot(options=options)), flag) == expected


def test_a_projector_goes_with_its_model() -> None:
    seeing = slot(capabilities=["chat", "vision"], companions={"mmproj": "p.gguf"})
    model = replace(MODEL, companions={"mmproj": Path("/models/p.gguf")})
    assert value(argv(seeing, model=model), "--mmproj") == "/models/p.gguf"
    assert value(argv(slot()), "--mmproj") is None


@pytest.mark.parametrize("options", [{}, {"binary": "mine"}, {"container": {"image": "i"}}])
def test_extra_arguments_come_last(options: dict[str, object]) -> None:
    extra = ["--temp", "0", "--no-warmup"]
    assert argv(slot(options=options | {"extra_args": extra}))[-3:] == tuple(extra)


@pytest.mark.parametrize("options", [{}, {"binary": "mine"}, {"container": {"image": "i"}}])
@pytest.mark.parametrize("device", [Device.CPU, *GPUS])
def test_the_token_is_in_no_argv(device: Device, options: dict[str, object]) -> None:
    command = LLAMA_CPP.start_cmd(slot(options=options), MODEL, placement(device))
    assert not any(TOKEN in argument for argument in (*command.argv, *command.cleanup))


@pytest.mark.parametrize(
    ("device", "passed"),
    [
        (Device.CPU, ()),
        (Device.VULKAN, ("--device", "/dev/dri")),
        (Device.ROCM, ("--device", "/dev/kfd", "--device", "/dev/dri", "--security-opt", "label=disable")),
        (Device.CUDA, ("--device", "nvidia.com/gpu=all")),
    ],
)
def test_in_a_container(device: Device, passed: tuple[str, ...]) -> None:
    container = {"image": "toolbox", "program": "server", "extra_args": ["--userns", "keep-id"]}
    boxed = slot(name="a:b", options={"container": container, "env": {"MINE": "hidden-value"}})
    where = placement(device, programs={}, accelerator_ids=("1",))
    model = ModelFiles(Path("/b/chat.gguf"), {"mmproj": Path("/a/p.gguf"), "other": Path("/b/o.gguf")})
    command = LLAMA_CPP.start_cmd(boxed, model, where)
    own = set(LLAMA_CPP.build_env(boxed, model, where))
    variables = [part for at, part in enumerate(command.argv) if command.argv[at - 1] == "--env"]
    begin = ("podman", "run", "--rm", "--name", "hal0-a-b-9000", "--network", "host", *passed)
    folders = ("--volume", "/a:/a:ro", "--volume", "/b:/b:ro")
    image = ("--userns", "keep-id", "--entrypoint", "server", "toolbox", "--model", "/b/chat.gguf")
    assert command.argv[: len(begin) + len(folders)] == (*begin, *folders)
    assert set(variables) == own and len(variables) == len(own)
    assert "hidden-value" not in " ".join(command.argv)
    after = len(begin) + len(folders) + 2 * len(variables)
    assert command.argv[after : after + len(image)] == image


@pytest.mark.parametrize(
    ("runtime", "cleanup"),
    [
        ("podman", ("podman", "rm", "--force", "--ignore", "hal0-chat-9000")),
        ("docker", ("docker", "rm", "--force", "hal0-chat-9000")),
    ],
)
def test_a_container_is_removed_with_its_slot(runtime: str, cleanup: tuple[str, ...]) -> None:
    boxed = slot(options={"container": {"image": "i", "runtime": runtime}})
    assert LLAMA_CPP.start_cmd(boxed, MODEL, placement()).cleanup == cleanup
    assert LLAMA_CPP.start_cmd(slot(), MODEL, placement()).cleanup == ()


def test_a_container_reaches_the_blobs_that_a_hub_snapshot_links_to() -> None:
    repository = "/hub/models--org--name"
    model = ModelFiles(
        Path(repository, "snapshots/abc/q4/model.gguf"), {"mmproj": Path(repository, "snapshots/abc/p.gguf")}
    )
    arguments = argv(slot(options={"container": {"image": "i"}}), model=model)
    assert value(arguments, "--volume") == f"{repository}:{repository}:ro"
