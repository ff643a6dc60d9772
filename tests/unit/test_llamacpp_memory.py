"""What llama.cpp will take for a slot, against figures worked out by hand."""

import struct
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from gguf import GGUFWriter

from providers.base import MemoryNeeds, ModelFiles
from providers.devices import Device
from providers.llamacpp.gguf_header import HEADER_LIMIT, BrokenHeader, read_metadata
from providers.llamacpp.memory import memory_needs, parts_of
from providers.llamacpp.options import LlamaCppSlot
from providers.tiny import make_demo_models

MIB = 1024**2
QWEN3 = {
    "block_count": 28,
    "embedding_length": 2048,
    "attention.head_count": 16,
    "attention.head_count_kv": 8,
    "attention.key_length": 128,
    "attention.value_length": 128,
}
"""Qwen3-1.7B's."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return make_demo_models(tmp_path_factory.mktemp("models"))


def slot(capability: str = "chat", context: int = 2048, requests: int = 2, **options: object) -> LlamaCppSlot:
    given = {"name": "s", "provider": "llama.cpp", "model": "m", "capabilities": [capability]}
    sizes = {"context_size": context, "parallel_requests": requests}
    return LlamaCppSlot.model_validate({**given, **sizes, "options": options})


def written(path: Path, keys: Mapping[str, object], architecture: str = "qwen3") -> Path:
    """A file with this metadata and without tensors."""
    writer = GGUFWriter(path, architecture)
    for name, value in keys.items():
        key = f"{architecture}.{name}"
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case list():
                writer.add_array(key, value)
            case _:
                writer.add_string(key, str(value))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token{number}" for number in range(1000)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def needs(file: Path, given: LlamaCppSlot | None = None, device: Device = Device.CPU) -> MemoryNeeds:
    found = memory_needs(given or slot(), ModelFiles(file), device)
    assert found is not None
    return found


def test_a_tiny_chat_model(tiny: Mapping[str, Path]) -> None:
    # One layer, one head of 32 numbers for K and V each, 4096 tokens, 2 bytes; the engine says 0.50 MiB as well.
    expected = MemoryNeeds(tiny["tiny-chat.gguf"].stat().st_size, 4096 * 2 * 32 * 2)
    assert needs(tiny["tiny-chat.gguf"]) == expected
    assert expected.total_bytes == expected.node_bytes and expected.device_bytes == 0


@pytest.mark.parametrize("name", ["tiny-embed.gguf", "tiny-rerank.gguf"])
def test_what_reads_a_text_as_a_whole_keeps_nothing(tiny: Mapping[str, Path], name: str) -> None:
    capability = "rerank" if "rerank" in name else "embedding"
    assert needs(tiny[name], slot(capability)) == MemoryNeeds(tiny[name].stat().st_size, 0)


def test_a_projector_is_weights_too(tiny: Mapping[str, Path]) -> None:
    chat, projector = tiny["tiny-chat.gguf"], tiny["tiny-mmproj.gguf"]
    found = memory_needs(slot(), ModelFiles(chat, {"mmproj": projector}), Device.CPU)
    assert found is not None
    assert found.weights_bytes == chat.stat().st_size + projector.stat().st_size


def test_qwen3_with_two_requests_of_8192_tokens(tmp_path: Path) -> None:
    # 28 layers x 8 heads x 128 numbers x K and V x 2 bytes = 112 KiB for a token.
    found = needs(written(tmp_path / "m.gguf", QWEN3), slot(context=8192))
    assert found.cache_bytes == 1792 * MIB


@pytest.mark.parametrize(
    ("keys", "values", "expected"),
    [("f32", "f32", 3584.0), ("q8_0", "q8_0", 952.0), ("q4_0", None, 252 + 896.0), (None, "q5_1", 896 + 336.0)],
)
def test_quantised_caches(tmp_path: Path, keys: str | None, values: str | None, expected: float) -> None:
    given = slot(context=8192, cache_type_k=keys, cache_type_v=values)
    assert needs(written(tmp_path / "m.gguf", QWEN3), given).cache_bytes == expected * MIB


def test_a_context_is_rounded_up_to_256_tokens(tmp_path: Path) -> None:
    file = written(tmp_path / "m.gguf", QWEN3)
    assert needs(file, slot(context=8000, requests=1)).cache_bytes == 8192 * 112 * 1024


def test_lengths_and_heads_that_are_not_told(tmp_path: Path) -> None:
    keys = {"block_count": 2, "embedding_length": 512, "attention.head_count": 8}
    found = needs(written(tmp_path / "m.gguf", keys, "llama"), slot(context=256, requests=1))
    assert found.cache_bytes == 2 * 256 * 2 * 512 * 2


def test_heads_of_each_layer(tmp_path: Path) -> None:
    keys = QWEN3 | {"block_count": 4, "attention.head_count_kv": [0, 8, 0, 4]}
    found = needs(written(tmp_path / "m.gguf", keys, "lfm2"), slot(context=256, requests=1))
    assert found.cache_bytes == 256 * (8 + 4) * 128 * 2 * 2


def test_only_some_layers_attend(tmp_path: Path) -> None:
    keys = QWEN3 | {"block_count": 8, "full_attention_interval": 4}
    found = needs(written(tmp_path / "m.gguf", keys, "qwen3next"), slot(context=256, requests=1))
    assert found.cache_bytes == 2 * 256 * 8 * 128 * 2 * 2


def test_layers_that_share_a_cache(tmp_path: Path) -> None:
    keys = QWEN3 | {"block_count": 8, "attention.shared_kv_layers": 3}
    found = needs(written(tmp_path / "m.gguf", keys), slot(context=256, requests=1))
    assert found.cache_bytes == 5 * 256 * 8 * 128 * 2 * 2


def test_latent_attention_keeps_keys_alone(tmp_path: Path) -> None:
    latent = {"attention.key_length": 576, "attention.value_length": 512, "attention.key_length_mla": 192}
    keys = QWEN3 | {"block_count": 2, "attention.head_count_kv": 1, **latent}
    found = needs(written(tmp_path / "m.gguf", keys, "deepseek2"), slot(context=256, requests=1))
    assert found.cache_bytes == 2 * 256 * 576 * 2


WINDOWS = [
    ("gemma3", {}, 5),
    ("gemma2", {}, 3),
    ("other", {}, 0),
    ("other", {"attention.sliding_window_pattern": 3}, 4),
    ("other", {"attention.sliding_window_pattern": 0}, 6),
    ("other", {"attention.sliding_window_pattern": [True, False, False, False, False, True]}, 2),
]


@pytest.mark.parametrize(("architecture", "pattern", "short"), WINDOWS)
def test_sliding_windows(tmp_path: Path, architecture: str, pattern: Mapping[str, object], short: int) -> None:
    keys = QWEN3 | {"block_count": 6, "attention.sliding_window": 1024, **pattern}
    file = written(tmp_path / "m.gguf", keys, architecture)
    token = 8 * 128 * 2 * 2
    # A window of 1024 tokens beside a batch of 512.
    expected = (short * 1536 + (6 - short) * 8192) * token
    assert needs(file, slot(context=8192, requests=1)).cache_bytes == expected
    assert needs(file, slot(context=512, requests=1)).cache_bytes == 6 * 512 * token
    full = slot(context=8192, requests=1, extra_args=["--swa-full"])
    assert needs(file, full).cache_bytes == 6 * 8192 * token


def test_heads_of_layers_with_a_window_may_be_of_another_length(tmp_path: Path) -> None:
    lengths = {"attention.key_length_swa": 64, "attention.value_length_swa": 32}
    keys = QWEN3 | {"block_count": 2, "attention.sliding_window": 256, "attention.sliding_window_pattern": 2, **lengths}
    found = needs(written(tmp_path / "m.gguf", keys), slot(context=256, requests=1))
    assert found.cache_bytes == 256 * 8 * (64 + 32 + 128 + 128) * 2


@pytest.mark.parametrize(
    ("device", "layers", "share"),
    [
        (Device.CPU, "all", 0),
        (Device.VULKAN, "all", 1),
        (Device.CUDA, 0, 0),
        (Device.ROCM, 14, 14 / 29),
        (Device.CUDA, 99, 1),
    ],
)
def test_the_share_on_the_device(tmp_path: Path, device: Device, layers: object, share: float) -> None:
    found = needs(written(tmp_path / "m.gguf", QWEN3), slot(gpu_layers=layers), device)
    assert found.device_share == share
    assert found.device_bytes + found.node_bytes == found.total_bytes
    assert found.device_bytes == round(found.total_bytes * share)


def test_a_split_model_is_all_of_its_files(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3))
    written(first, QWEN3)
    assert memory_needs(slot(), ModelFiles(first), Device.CPU) is None, "its other parts are missing"
    second.write_bytes(b"x" * 1000)
    third.write_bytes(b"x" * 500)
    assert needs(first).weights_bytes == first.stat().st_size + 1500
    assert parts_of(first) == [first, second, third]
    assert parts_of(tmp_path / "m.gguf") == [tmp_path / "m.gguf"]


@pytest.mark.parametrize(
    "changes",
    [
        {"block_count": "many"},
        {"block_count": 10**6},
        {"attention.head_count_kv": [8]},
        {"attention.head_count_kv": [0.5] * 28},
        {"attention.head_count_kv": [-1] * 28},
        {"attention.sliding_window": "wide"},
    ],
    ids=str,
)
def test_metadata_that_makes_no_sense_is_unknown(tmp_path: Path, changes: Mapping[str, object]) -> None:
    file = written(tmp_path / "m.gguf", {**QWEN3, **changes})
    assert memory_needs(slot(), ModelFiles(file), Device.CPU) is None


def test_a_file_without_a_models_shape_is_unknown(tiny: Mapping[str, Path]) -> None:
    assert memory_needs(slot(), ModelFiles(tiny["tiny-mmproj.gguf"]), Device.CPU) is None


def test_a_file_that_ends_anywhere_in_its_header_is_unknown(tmp_path: Path) -> None:
    whole = written(tmp_path / "m.gguf", {"block_count": 1}).read_bytes()
    cut = tmp_path / "cut.gguf"
    shape_ends = whole.index(b"tokenizer.ggml.model")
    for size in range(shape_ends):
        cut.write_bytes(whole[:size])
        with pytest.raises(BrokenHeader):
            read_metadata(cut)


@pytest.mark.parametrize("start", [0, 4, 8, 16, 24, 32, 60])
def test_lengths_that_cannot_be_are_unknown(tmp_path: Path, start: int) -> None:
    whole = bytearray(written(tmp_path / "m.gguf", QWEN3).read_bytes())
    whole[start : start + 8] = b"\xff" * 8
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(whole)
    memory_needs(slot(), ModelFiles(broken), Device.CPU)


def test_a_hole_instead_of_a_header_costs_no_minutes(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    with file.open("wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60))
        out.truncate(2 * HEADER_LIMIT)
    with pytest.raises(BrokenHeader):
        read_metadata(file)


def test_a_large_vocabulary_is_not_read(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "qwen3")
    for key, value in QWEN3.items():
        writer.add_uint32(f"qwen3.{key}", value)
    writer.add_token_list([f"token{number}" for number in range(150_000)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    began = time.perf_counter()
    assert needs(tmp_path / "m.gguf").cache_bytes
    assert time.perf_counter() - began < 0.02
