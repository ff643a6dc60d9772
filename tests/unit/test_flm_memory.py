"""What an NPU slot is expected to take of its node's memory."""

import json
from pathlib import Path

import pytest

from providers.base import MemoryNeeds, ModelFiles
from providers.capabilities import Capability
from providers.devices import Device
from providers.flm.memory import RESERVED, WORKING_BYTES, memory_needs
from providers.flm.options import FlmSlot

SHAPE = {"num_hidden_layers": 28, "num_key_value_heads": 8, "num_attention_heads": 16, "hidden_size": 1024}
ALL = ("chat", "embedding", "transcription")


def needs(folder: Path, *capabilities: str, model: str = "qwen3:0.6b", context: int = 1000) -> MemoryNeeds | None:
    kinds = tuple(Capability(one) for one in capabilities)
    slot = FlmSlot(name="npu", provider="flm", model=model, capabilities=kinds, context_size=context)
    return memory_needs(slot, ModelFiles(folder), Device.NPU)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.q4nx").write_bytes(bytes(5000))
    return tmp_path


def shaped(folder: Path, shape: object) -> int:
    config = folder / "config.json"
    config.write_text(json.dumps(shape))
    found = needs(folder, "chat")
    assert found is not None
    assert found.weights_bytes == 5000 + config.stat().st_size + WORKING_BYTES
    return found.cache_bytes


def test_a_chat_models_files_and_its_cache(folder: Path) -> None:
    assert shaped(folder, SHAPE | {"head_dim": 128}) == 1000 * 28 * 8 * 128 * 2 * 2
    assert shaped(folder, SHAPE) == 1000 * 28 * 8 * 64 * 2 * 2
    assert shaped(folder, {"text_config": SHAPE, "vision_config": {}}) == 1000 * 28 * 8 * 64 * 2 * 2


@pytest.mark.parametrize(
    "shape",
    [
        {},
        [],
        None,
        "text",
        7,
        SHAPE | {"num_attention_heads": 0},
        SHAPE | {"num_hidden_layers": None},
        {"text_config": 1},
    ],
)
def test_a_shape_that_is_not_told_has_no_cache(folder: Path, shape: object) -> None:
    assert shaped(folder, shape) == 0


def test_broken_and_absent_files_are_no_errors(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe{")
    assert needs(folder, "chat") == MemoryNeeds(5003 + WORKING_BYTES, 0)
    assert needs(folder / "nothing", "chat") is None
    assert needs(folder / "model.q4nx", "chat") is None
    (folder / "empty").mkdir()
    assert needs(folder / "empty", "chat") is None


def test_each_role_adds_what_the_program_reserves_for_it(folder: Path) -> None:
    roles = sum(RESERVED.values())
    assert needs(folder, *ALL) == MemoryNeeds(5000 + roles + WORKING_BYTES, 0)
    hearing = needs(folder / "nothing", "transcription", model="whisper-v3:turbo")
    assert hearing == MemoryNeeds(RESERVED[Capability.TRANSCRIPTION] + WORKING_BYTES, 0)
    assert hearing is not None and hearing.device_bytes == 0
