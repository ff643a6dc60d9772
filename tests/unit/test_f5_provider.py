"""What a slot on F5-TTS may say, what it is loaded from, and what it will take."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file

from providers.base import ModelFiles, Placement
from providers.capabilities import Operation
from providers.devices import Device
from providers.errors import InvalidRequest, ProviderError
from providers.f5 import library
from providers.f5.files import F5Files, find
from providers.f5.memory import REQUEST_BYTES
from providers.f5.options import F5Slot
from providers.f5.provider import F5Tts, voices
from providers.f5.shape import BANDS, Shape, shape_of
from tests.support.f5_child import slot

PROVIDER = F5Tts()


def placement(device: Device = Device.CPU, ids: tuple[str, ...] = ()) -> Placement:
    return Placement(device, "127.0.0.1", 1234, "secret", Path("/cache"), ids, cpu_threads=3)


@pytest.mark.parametrize("options", [{"nfe_step": 0}, {"seed": -1}, {"cfg_strength": 11}, {"architecture": "v2"}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        slot(**options)


def test_it_speaks_with_voices_that_clients_bring() -> None:
    book = voices(slot())
    assert book.clones and book.brought("anna") and PROVIDER.voices(slot(), None) == ()
    route = PROVIDER.infer(Operation.SPEECH)
    assert route and route.translate and PROVIDER.infer(Operation.CHAT) is None
    asked = route.translate({"input": "Hello.", "voice": "anna"}, slot()).request
    assert asked and asked["blend"] == [{"voice": "anna", "weight": 1.0}]
    with pytest.raises(InvalidRequest, match="no default_voice"):
        route.translate({"input": "Hello."}, slot())
    assert route.translate({"input": "Hello."}, slot(default_voice="anna")).request == asked


def test_it_is_a_part_of_the_actor_unless_it_has_a_python_of_its_own() -> None:
    model = ModelFiles(Path("/models/m"), {"vocoder": Path("/models/v")})
    assert PROVIDER.native(slot(), model, placement()) is not None
    apart = slot(python="/venv/bin/python", seed=3)
    assert PROVIDER.native(apart, model, placement()) is None
    argv = PROVIDER.start_cmd(apart, model, placement()).argv
    assert argv[0] == "/venv/bin/python" and "vocoder=/models/v" in argv
    assert F5Slot.model_validate(json.loads(argv[argv.index("--slot") + 1])) == slot(seed=3)


def test_a_child_sees_the_gpus_of_its_slot_and_its_threads_sleep() -> None:
    apart, model = slot(own_process=True), ModelFiles(Path("m"))
    env = PROVIDER.build_env(apart, model, placement(Device.ROCM, ("2", "5")))
    assert env["HIP_VISIBLE_DEVICES"] == "2,5" and env["OMP_WAIT_POLICY"] == "PASSIVE"
    own = slot(own_process=True, env={"OMP_WAIT_POLICY": "ACTIVE"})
    assert PROVIDER.build_env(own, model, placement())["OMP_WAIT_POLICY"] == "ACTIVE"


def made(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


VOCODER = ("config.yaml", "pytorch_model.bin")


def test_files_are_found_in_a_folder_or_named(tmp_path: Path) -> None:
    vocoder = made(tmp_path / "v", *VOCODER)
    both = made(tmp_path / "m", "model_1.safetensors", "vocab.txt", "model_1.pt")
    companions = {"vocoder": vocoder}
    assert find(ModelFiles(both, companions)) == F5Files(both / "model_1.safetensors", both / "vocab.txt", vocoder)
    # Beside a file there may be anything: the Hub's cache has what was pulled for other slots.
    assert find(ModelFiles(both / "model_1.pt", companions)) == F5Files(both / "model_1.pt", None, vocoder)
    other = made(tmp_path / "o", "words.txt") / "words.txt"
    assert find(ModelFiles(both, companions | {"vocab": other})).vocab == other


@pytest.mark.parametrize(
    ("main", "companions", "told"),
    [
        ("none", {"vocoder": "v"}, "none is missing; f5-tts takes"),
        ("empty", {"vocoder": "v"}, "has no weights"),
        ("two", {"vocoder": "v"}, "a.safetensors, b.safetensors; name one of them"),
        ("m.gguf", {"vocoder": "v"}, "of another kind"),
        ("m.pt", {}, "no vocoder; f5-tts takes the folder of a Vocos as companions.vocoder"),
        ("m.pt", {"vocoder": "empty"}, "config.yaml is missing"),
        ("m.pt", {"vocoder": "v", "vocab": "none"}, "none is no file"),
    ],
)
def test_files_that_are_missing_are_named(tmp_path: Path, main: str, companions: dict[str, str], told: str) -> None:
    made(tmp_path, "m.gguf", "m.pt", "two/a.safetensors", "two/b.safetensors", *(f"v/{name}" for name in VOCODER))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProviderError, match=told):
        find(ModelFiles(tmp_path / main, {role: tmp_path / name for role, name in companions.items()}))


PUBLISHED = {
    "transformer.input_embed.proj.weight": (1024, 2 * BANDS + 512),
    "transformer.text_embed.text_embed.weight": (2546, 512),
    "transformer.text_embed.text_blocks.0.grn.gamma": (1, 1, 1024),
    "transformer.text_embed.text_blocks.3.grn.gamma": (1, 1, 1024),
    "transformer.rotary_embed.inv_freq": (32,),
    "transformer.transformer_blocks.0.attn.to_q.weight": (1024, 1024),
    "transformer.transformer_blocks.0.ff.ff.0.0.weight": (2048, 1024),
    "transformer.transformer_blocks.21.attn.to_q.weight": (1024, 1024),
}
"""Some of F5TTS_v1_Base, as its configuration in the library has it."""


def test_the_published_size_is_told_by_its_weights() -> None:
    assert shape_of(PUBLISHED) == Shape(1024, 2, 16, 64, 2, 512, 2545, 2, None, False)
    normal = PUBLISHED | {"transformer.transformer_blocks.0.attn.q_norm.weight": (64,)}
    assert shape_of(normal).qk_norm == "rms_norm"
    assert shape_of(PUBLISHED | {"transformer.long_skip_connection.weight": (1024, 2048)}).long_skip_connection


@pytest.mark.parametrize("missing", [name for name in PUBLISHED if "text_blocks" not in name and ".21." not in name])
def test_weights_of_another_model_are_told(missing: str) -> None:
    with pytest.raises(ValueError, match=missing.replace(".", r"\.")):
        shape_of({name: shape for name, shape in PUBLISHED.items() if name != missing})
    with pytest.raises(ValueError, match="it has no"):
        shape_of(PUBLISHED | {missing: (4, 4, 4)})


def test_memory_is_that_of_the_weights_as_they_are_computed_with(tmp_path: Path) -> None:
    path, vocoder = tmp_path / "m.safetensors", tmp_path / "v"
    save_file({"a": np.zeros((100, 10), np.float32), "b": np.zeros(24, np.float16)}, path)
    vocoder.mkdir()
    (vocoder / "pytorch_model.bin").write_bytes(bytes(500))
    model = ModelFiles(path, {"vocoder": vocoder})
    on_cpu = PROVIDER.memory_needs(slot(requests=3), model, Device.CPU)
    assert on_cpu and (on_cpu.weights_bytes, on_cpu.cache_bytes) == (1024 * 4 + 500, 3 * REQUEST_BYTES)
    assert on_cpu.device_bytes == 0
    seeded = PROVIDER.memory_needs(slot(requests=3, seed=1), model, Device.CPU)
    assert seeded and seeded.cache_bytes == REQUEST_BYTES
    on_gpu = PROVIDER.memory_needs(slot(requests=3), model, Device.CUDA)
    assert on_gpu and (on_gpu.weights_bytes, on_gpu.cache_bytes) == (1024 * 2 + 500, REQUEST_BYTES)
    assert on_gpu.device_bytes == on_gpu.total_bytes


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x02" + bytes(7) + b"[]", b"\x09" + bytes(7) + b'{"a": {}}'])
def test_memory_of_what_is_no_model_is_unknown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    assert PROVIDER.memory_needs(slot(), ModelFiles(tmp_path), Device.CPU) is None


def test_a_python_without_it_says_which_packages_it_lacks() -> None:
    with pytest.raises(ProviderError, match=r"torch, f5_tts, vocos, which .* has not; set options\.python"):
        library.require()


def test_stand_ins_are_there_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ModuleType("encodec")
    monkeypatch.setitem(sys.modules, "encodec", real)
    with pytest.raises(RuntimeError), library._stand_ins():
        assert sys.modules["encodec"] is not real and "librosa.filters" in sys.modules
        raise RuntimeError
    assert sys.modules["encodec"] is real
    assert not {"librosa", "librosa.filters", "torchaudio"} & set(sys.modules)
