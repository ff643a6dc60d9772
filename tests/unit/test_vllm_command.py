"""How vLLM is started, by slot and placement."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.errors import ProviderError
from providers.vllm.command import CLI, ON_RAY
from providers.vllm.options import VllmSlot
from providers.vllm.provider import Vllm

MODEL = ModelFiles(Path("/models/m"))
ON_CUDA = Placement(
    device=Device.CUDA,
    host="127.0.0.1",
    port=9000,
    token="key",
    cache_dir=Path("/cache"),
    accelerator_ids=("2", "3"),
    cpu_threads=4,
    programs={"vllm": Path("/bin/vllm")},
    base_env={"PATH": "/bin"},
)
ON_CPU = replace(ON_CUDA, device=Device.CPU, accelerator_ids=())
KEY = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t"}
CLUSTER: dict[str, Any] = {"placement_group": "ab12", "cluster_address": "10.0.0.1:6379", "cluster_key": KEY}
RESERVED = replace(ON_CUDA, accelerator_ids=(), **CLUSTER)


def slot(**more: Any) -> VllmSlot:
    given = {"name": "s", "provider": "vllm", "model": "m", "capabilities": ["chat"], "device": "cuda"}
    return VllmSlot.model_validate(given | more)


def argv(given: VllmSlot, placement: Placement = ON_CUDA, model: ModelFiles = MODEL) -> tuple[str, ...]:
    return Vllm().start_cmd(given, model, placement).argv


def env(given: VllmSlot, placement: Placement = ON_CUDA) -> dict[str, str]:
    return Vllm().build_env(given, MODEL, placement)


def after(arguments: tuple[str, ...], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_a_plain_slot() -> None:
    assert argv(slot(context_size=2048, parallel_requests=8)) == (
        *("/bin/vllm", "serve", "/models/m", "--host", "127.0.0.1", "--port", "9000"),
        *("--served-model-name", "s", "hal0/s", "m", "--max-model-len", "2048", "--max-num-seqs", "8"),
        *("--dtype", "auto", "--disable-uvicorn-access-log", "--runner", "generate", "--tensor-parallel-size", "1"),
    )


def test_every_option() -> None:
    options = {
        "dtype": "bfloat16",
        "quantization": "fp8",
        "gpu_memory_utilization": 0.8,
        "kv_cache_dtype": "fp8",
        "prefix_caching": True,
        "chunked_prefill": False,
        "enforce_eager": True,
        "speculative": {"method": "ngram", "num_speculative_tokens": 4},
        "chat_template": "/t.jinja",
        "tool_call_parser": "hermes",
        "reasoning_parser": "qwen3",
        "sleep_when_idle": True,
        "extra_args": ["--trust-remote-code"],
    }
    arguments = argv(slot(options=options))
    expected = (
        *("--quantization", "fp8", "--gpu-memory-utilization", "0.8", "--kv-cache-dtype", "fp8"),
        *("--enable-prefix-caching", "--no-enable-chunked-prefill", "--enforce-eager"),
        *("--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4}', "--chat-template", "/t.jinja"),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"),
        *("--enable-sleep-mode", "--trust-remote-code"),
    )
    assert arguments[-len(expected) :] == expected
    assert after(arguments, "--dtype") == "bfloat16"


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("embedding", ("--runner", "pooling", "--convert", "embed")), ("rerank", ("--runner", "pooling"))],
)
def test_models_that_pool(capability: str, expected: tuple[str, ...]) -> None:
    arguments = argv(slot(capabilities=[capability]))
    start = arguments.index("--runner")
    assert arguments[start : start + len(expected)] == expected


def test_adapters() -> None:
    given = slot(companions={"french": "a", "german": "b"}, options={"max_lora_rank": 64})
    model = ModelFiles(MODEL.main, {"french": Path("/a=1"), "german": Path("/b")})
    arguments = argv(given, model=model)
    start = arguments.index("--lora-modules") + 1
    assert [json.loads(one) for one in arguments[start : start + 2]] == [
        {"name": "french", "path": "/a=1"},
        {"name": "german", "path": "/b"},
    ]
    assert (after(arguments, "--max-loras"), after(arguments, "--max-lora-rank")) == ("2", "64")
    assert "french" not in arguments


def test_the_key_and_the_gpus_are_in_the_environment() -> None:
    told = env(slot(resources={"gpu": 2}))
    assert told["VLLM_API_KEY"] == "key" and told["CUDA_VISIBLE_DEVICES"] == "2,3" and told["PATH"] == "/bin"
    assert told["VLLM_HOST_IP"] == "127.0.0.1" and "VLLM_SERVER_DEV_MODE" not in told
    assert after(argv(slot(resources={"gpu": 2})), "--tensor-parallel-size") == "2"


def test_routes_that_put_it_to_sleep_exist_only_where_it_may() -> None:
    assert env(slot(options={"sleep_when_idle": True}))["VLLM_SERVER_DEV_MODE"] == "1"


def test_on_the_cpu() -> None:
    told = env(slot(device="cpu", options={"cpu_cache_gib": 2}), ON_CPU)
    assert told["VLLM_CPU_KVCACHE_SPACE"] == "2" and told["OMP_NUM_THREADS"] == "4"
    assert told["VLLM_CPU_OMP_THREADS_BIND"] == "nobind" and "CUDA_VISIBLE_DEVICES" not in told


@pytest.mark.parametrize(
    ("options", "programs", "expected"),
    [
        ({"python": "/v/bin/python"}, {}, ("/v/bin/python", *CLI)),
        ({"binary": "/opt/vllm"}, {"vllm": Path("/bin/vllm")}, ("/opt/vllm",)),
        ({}, {"vllm": Path("/bin/vllm")}, ("/bin/vllm",)),
    ],
)
def test_which_program(options: dict[str, str], programs: dict[str, Path], expected: tuple[str, ...]) -> None:
    arguments = argv(slot(options=options), replace(ON_CUDA, programs=programs))
    assert arguments[: arguments.index("serve")] == expected


def test_no_program_is_said_with_where_to_get_it() -> None:
    with pytest.raises(ProviderError, match=r"scripts/vllm-venv"):
        argv(slot(), replace(ON_CUDA, programs={}))


def test_fewer_gpus_than_the_layers_are_shared_by() -> None:
    with pytest.raises(ProviderError, match="2 needs as many GPUs, and 1 are assigned"):
        argv(slot(resources={"gpu": 2}), replace(ON_CUDA, accelerator_ids=("0",)))


def test_in_a_container() -> None:
    command = Vllm().start_cmd(slot(options={"container": {"image": "vllm/vllm-openai"}}), MODEL, ON_CUDA)
    assert command.argv[: command.argv.index("serve")][-3:] == ("--entrypoint", "vllm", "vllm/vllm-openai")
    assert "--ipc" in command.argv and "VLLM_API_KEY" in command.argv and "key" not in command.argv
    assert command.cleanup


STAGES = {"pipeline_parallel": 2, "tensor_parallel": 2, "python": "/v/bin/python"}


def test_over_several_nodes() -> None:
    arguments, told = argv(slot(options=STAGES), RESERVED), env(slot(options=STAGES), RESERVED)
    assert arguments[:3] == ("/v/bin/python", str(ON_RAY), "serve")
    assert after(arguments, "--pipeline-parallel-size") == "2" and after(arguments, "--tensor-parallel-size") == "2"
    assert after(arguments, "--distributed-executor-backend") == "ray"
    assert (told["HAL0_PLACEMENT_GROUP"], told["RAY_ADDRESS"]) == ("ab12", "10.0.0.1:6379")
    assert "CUDA_VISIBLE_DEVICES" not in told and "VLLM_HOST_IP" not in told
    assert KEY.items() <= told.items() and not KEY.keys() & env(slot()).keys()


def test_stages_without_a_reservation() -> None:
    with pytest.raises(ProviderError, match="this replica has none"):
        argv(slot(options=STAGES))
