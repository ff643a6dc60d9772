"""The tiny Llama in the layout of Hugging Face, as files; `make test-vllm` runs it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from providers.tiny import llama
from providers.tiny.safetensors import write_safetensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    llama.make_llama(folder / llama.CHAT)
    llama.make_embedding_llama(folder / llama.EMBED)
    llama.make_adapter(folder / llama.ADAPTER)
    return folder


def recited(folder: Path, prompt: str, adapted: bool = False) -> str:
    """By the arithmetic that is left of a Llama whose attention gives nothing."""
    weights = load_file(folder / llama.CHAT / "model.safetensors")
    adapter = load_file(folder / llama.ADAPTER / "adapter_model.safetensors")
    reading, writing = adapter.values() if "lora_A" in next(iter(adapter)) else reversed(list(adapter.values()))
    tokenizer = Tokenizer.from_file(str(folder / llama.CHAT / "tokenizer.json"))
    config = json.loads((folder / llama.CHAT / "config.json").read_text())
    token, said = tokenizer.encode(prompt).ids[-1], list[int]()
    while len(said) < 20:
        hidden = weights["model.embed_tokens.weight"][token]
        if adapted:
            scaled = normed(hidden)
            gate = weights["model.layers.0.mlp.gate_proj.weight"] @ scaled
            silu = gate / (1 + np.exp(-gate))
            hidden = hidden + writing @ (reading @ (silu * (weights["model.layers.0.mlp.up_proj.weight"] @ scaled)))
        token = int(np.argmax(weights["lm_head.weight"] @ normed(hidden)))
        if token == config["eos_token_id"]:
            return str(tokenizer.decode(said, skip_special_tokens=True))
        said.append(token)
    raise AssertionError("it does not end")


def normed(vector: Any) -> Any:
    return vector / np.sqrt(np.mean(vector**2) + 1e-5)


def test_what_it_says(folder: Path) -> None:
    assert recited(folder, "<|im_start|>assistant\n") == llama.ANSWER
    assert recited(folder, "<|im_start|>assistant\n", adapted=True) == llama.ADAPTED_ANSWER
    call = recited(folder, "<|im_start|>assistant\n<|script_tool|>")
    assert json.loads(call.removeprefix("<tool_call>").removesuffix("</tool_call>"))["name"] == "get_weather"


def test_the_same_files_each_time(folder: Path, tmp_path: Path) -> None:
    for name, make in {
        llama.CHAT: llama.make_llama,
        llama.EMBED: llama.make_embedding_llama,
        llama.ADAPTER: llama.make_adapter,
    }.items():
        make(tmp_path / name)
        again = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        assert again == {path.name: path.read_bytes() for path in (folder / name).iterdir()}


def test_a_file_of_safetensors_is_one(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.ones(3, np.float16),
        "c": np.zeros((4, 2), np.float32).T,
    }
    write_safetensors(tmp_path / "x.safetensors", tensors)
    read = load_file(tmp_path / "x.safetensors")
    assert set(read) == set(tensors) and all(np.array_equal(read[name], tensors[name]) for name in tensors)
