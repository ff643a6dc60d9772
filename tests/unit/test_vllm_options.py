"""What a slot on vLLM may say, and what it is told when it says something else."""

from typing import Any

import pytest

from providers.conformity import complaints
from providers.registry import provider
from providers.vllm.options import VllmSlot
from serve_app.config import ConfigError, parse_slot


def slot(**more: Any) -> VllmSlot:
    given = {"name": "s", "provider": "vllm", "model": "m", "capabilities": ["chat"], "device": "cuda"}
    parsed = parse_slot(given | more)
    assert isinstance(parsed, VllmSlot)
    return parsed


def refused(**more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        slot(**more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        ("--port", "nothing"),
        ("--max-model-len=8192", "context_size"),
        ("--max_model_len", "context_size"),
        ("--max-num-seq", "parallel_requests"),
        ("-tp", "options.tensor_parallel"),
        ("--api-key", "nothing"),
        ("--speculative-config.method", "options.speculative"),
        ("--no-enable-prefix-caching", "options.prefix_caching"),
        ("--uds", "nothing"),
        ("--data-parallel-size", "nothing"),
        ("--help", "nothing"),
    ],
)
def test_what_keys_of_the_slot_set_is_no_extra_argument(argument: str, key: str) -> None:
    assert f"is set by {key}" in refused(options={"extra_args": [argument]})


@pytest.mark.parametrize("argument", ["--trust-remote-code", "--swa-bounded-replay", "hermes", "-cc.mode=3", "--seed"])
def test_other_arguments_pass(argument: str) -> None:
    assert slot(options={"extra_args": [argument]}).options.extra_args == (argument,)


def test_variables_of_its_own_are_not_for_env() -> None:
    assert "is set by options.sleep_when_idle" in refused(options={"env": {"VLLM_SERVER_DEV_MODE": "1"}})
    assert slot(options={"env": {"VLLM_LOGGING_LEVEL": "DEBUG"}}).options.env


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"options": {"binary": "vllm", "python": "/v/bin/python"}}, "binary and python exclude each other"),
        ({"capabilities": ["chat", "embedding"]}, "need different engines"),
        ({"device": "cpu", "options": {"sleep_when_idle": True}}, "allowed: with device: cuda"),
        ({"device": "auto", "options": {"sleep_when_idle": True}}, "allowed: with device: cuda"),
        (
            {"options": {"sleep_when_idle": True, "sleep_level": 2}, "companions": {"a": "lora"}},
            "would lose the adapters",
        ),
        ({"options": {"tensor_parallel": 2}}, "(resources.gpu claims more)"),
        ({"device": "rocm", "options": {"tensor_parallel": 2}}, "(resources.custom.rocm claims more)"),
        ({"options": {"pipeline_parallel": 2}}, "allowed: above 1 with options.python"),
        ({"device": "cpu", "options": {"pipeline_parallel": 2, "python": "/p"}}, "allowed: with cuda or rocm"),
        (
            {"options": {"pipeline_parallel": 2, "python": "/p"}, "resources": {"gpu": 2}},
            "tensor_parallel says how many workers",
        ),
        ({"options": {"pipeline_parallel": 2, "python": "/p"}, "max_replicas": 2}, "max_replicas: 2 is not allowed"),
        ({"companions": {"s": "lora"}}, "the slot itself has this name"),
        ({"companions": {"a b": "lora"}}, "allowed: a name as a slot's"),
        ({"device": "vulkan"}, "'vulkan' is not allowed for vllm; allowed: auto, cpu, cuda, rocm"),
        ({"options": {"max_lora_rank": 9}}, "max_lora_rank"),
    ],
)
def test_a_refusal_says_what_is_allowed(more: dict[str, Any], message: str) -> None:
    assert message in refused(**more)


def test_adapters_are_names_of_the_slot() -> None:
    with_adapter = slot(companions={"french": "hf://org/adapter"}, aliases=["gpt"])
    assert with_adapter.names == ("s", "hal0/s", "gpt", "french")
    assert complaints(provider("vllm"), with_adapter) == []


@pytest.mark.parametrize(
    ("more", "tensor", "stages"),
    [
        ({}, 1, 1),
        ({"resources": {"gpu": 4}}, 4, 1),
        ({"resources": {"gpu": 0.5}}, 1, 1),
        ({"resources": {"gpu": 4}, "options": {"tensor_parallel": 2}}, 2, 1),
        ({"device": "rocm", "resources": {"custom": {"rocm": 2}}}, 2, 1),
        ({"device": "cpu"}, 1, 1),
        ({"device": "auto"}, 1, 1),
        ({"options": {"pipeline_parallel": 3, "python": "/p"}}, 1, 3),
        ({"options": {"pipeline_parallel": 2, "tensor_parallel": 4, "python": "/p"}}, 4, 8),
    ],
)
def test_gpus(more: dict[str, Any], tensor: int, stages: int) -> None:
    given = slot(**more)
    assert (given.tensor_parallel, given.stages) == (tensor, stages)
    assert given.device_claim == 1
