"""What vLLM's log tells of a load, and what its model's files tell of the memory that it needs."""

import json
from pathlib import Path
from typing import Any

import pytest

from providers.base import ModelFiles
from providers.devices import Device
from providers.vllm.options import VllmSlot
from providers.vllm.provider import Vllm

BAR = "Loading safetensors checkpoint shards:  {}% Completed | 2/5 [00:01<00:02, 1.2it/s]\n"
LOADED = "(Worker pid=1) INFO 11-30 15:13:57 [default_loader.py:501] Loading weights took 0.03 seconds\n"


@pytest.mark.parametrize(
    ("output", "share"),
    [
        ("", None),
        ("INFO [api_utils.py:286] non-default args: {}", None),
        (BAR.format(0), 0.0),
        (BAR.format(0) + "\r" + BAR.format(50), 0.35),
        (BAR.format(100) + LOADED, 0.7),
        (LOADED + "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  50%|##   | 3/6", 0.85),
        (LOADED + "INFO [gpu_model_runner.py:1] Graph capturing finished in 3 secs", 1.0),
        (LOADED + "INFO [entry.py:140] Starting vLLM server on http://127.0.0.1:1", 1.0),
        (BAR.format(900), 0.7),
    ],
)
def test_progress(output: str, share: float | None) -> None:
    assert Vllm().load_progress(output) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "quantised model"),
        ("ValueError: To serve at least one request ..., which is larger than the available KV cache memory", "lower"),
        (
            "ValueError: Free memory on device cuda:0 (1/80 GiB) on startup is less than desired GPU memory utiliz",
            "slots",
        ),
        ("Unsupported CPU attention configuration: head_dim=16", "size of heads"),
        ("RuntimeError: Failed to infer device type, please set", "nvidia-smi"),
        ("OSError: You are trying to access a gated repo.", "HF_TOKEN"),
        ("OSError: Can't load tokenizer for '/m'", "whole repository"),
        ("ModuleNotFoundError: No module named 'vllm'", "options.python"),
        ("User-specified max_model_len (9) is greater than the derived max_model_len (4)", "context_size"),
        ("vllm: error: unrecognized arguments: --nonsense", "extra_args"),
    ],
)
def test_advice(output: str, words: str) -> None:
    told = Vllm().advice(f"INFO first\n{output}\nINFO last")
    assert told is not None and words in told


def test_no_advice_for_what_is_not_known() -> None:
    assert Vllm().advice("KeyError: 'x'") is None


LLAMA = {"num_hidden_layers": 10, "num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 512}
LATENT = {"num_hidden_layers": 10, "kv_lora_rank": 100, "qk_rope_head_dim": 28}
TOKENS = 1024 * 2


def needs(folder: Path, config: dict[str, Any], device: Device = Device.CUDA, **more: Any) -> Any:
    (folder / "config.json").write_text(json.dumps(config))
    for part in ("a", "b"):
        (folder / f"model-{part}.safetensors").write_bytes(b"x" * 500)
    (folder / "old.bin").write_bytes(b"x" * 9000)
    given = {"name": "s", "provider": "vllm", "model": "m", "capabilities": ["chat"], "device": device.value}
    slot = VllmSlot.model_validate(given | {"context_size": 1024, "parallel_requests": 2} | more)
    return Vllm().memory_needs(slot, ModelFiles(folder), device)


@pytest.mark.parametrize(
    ("config", "more", "cache"),
    [
        (LLAMA, {}, TOKENS * 10 * 2 * 2 * 64 * 2),
        (LLAMA | {"head_dim": 32}, {}, TOKENS * 10 * 2 * 2 * 32 * 2),
        ({"text_config": LLAMA}, {}, TOKENS * 10 * 2 * 2 * 64 * 2),
        (LATENT, {}, TOKENS * 10 * 128 * 2),
        (LLAMA, {"options": {"kv_cache_dtype": "fp8_e4m3"}}, TOKENS * 10 * 2 * 2 * 64),
        (LLAMA, {"options": {"dtype": "float32"}}, TOKENS * 10 * 2 * 2 * 64 * 4),
        (LLAMA, {"capabilities": ["embedding"]}, 0),
    ],
)
def test_memory(tmp_path: Path, config: dict[str, Any], more: dict[str, Any], cache: int) -> None:
    found = needs(tmp_path, config, **more)
    assert (found.weights_bytes, found.cache_bytes, found.device_share) == (1000, cache, 1.0)


def test_memory_on_the_cpu(tmp_path: Path) -> None:
    found = needs(tmp_path, LLAMA, Device.CPU, options={"cpu_cache_gib": 3})
    assert (found.cache_bytes, found.device_share) == (3 * 2**30, 0.0)


def test_memory_of_one_node_where_there_are_several(tmp_path: Path) -> None:
    assert needs(tmp_path, LLAMA, options={"pipeline_parallel": 2, "python": "/p"}).weights_bytes == 500


@pytest.mark.parametrize("config", [{}, {"num_hidden_layers": "x"}, {**LLAMA, "num_hidden_layers": -1}, [1]])
def test_a_config_that_makes_no_sense_is_unknown(tmp_path: Path, config: Any) -> None:
    assert needs(tmp_path, config) is None
