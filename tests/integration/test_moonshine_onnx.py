"""Moonshine's ONNX exports through ONNX Runtime, on the CPU and on a software Vulkan driver."""

import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from providers.asr.recognizer import Asked, Recognizer
from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.errors import InvalidRequest, ProviderError
from providers.moonshine.loading import load
from providers.moonshine.options import MoonshineSlot
from providers.onnx.session import SOFTWARE_VARIABLE, open_session, vulkan_trouble
from providers.tiny.moonshine import make_moonshine_onnx
from providers.tiny.tones import WORD_S, WORDS, tones
from tests.support.software_vulkan import environment

ON_VULKAN = """
import sys
from pathlib import Path
from providers.devices import Device
from tests.integration.test_moonshine_onnx import check_words, loaded
recognizer = loaded(Path(sys.argv[1]), Device.VULKAN)
check_words(recognizer, seeds=3)
print(*recognizer._model._encoder.get_providers(), *recognizer._model._decoder.get_providers())
recognizer.close()
"""
OPENS = """
import sys
from pathlib import Path
from providers.devices import Device
from providers.onnx.session import open_session
open_session(Path(sys.argv[1]), Device.VULKAN, 1)
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-moonshine-onnx"
    make_moonshine_onnx(folder)
    return folder


@pytest.fixture
def recognizer(tiny: Path) -> Iterator[Recognizer]:
    one = loaded(tiny, Device.CPU)
    yield one
    one.close()
    one.close()


def loaded(folder: Path, device: Device) -> Recognizer:
    given = {"name": "s", "provider": "moonshine", "model": "m", "capabilities": ["transcription"]}
    placement = Placement(device, "127.0.0.1", 0, "token", folder / "cache", cpu_threads=1)
    return load(MoonshineSlot.model_validate(given), ModelFiles(folder), placement)


def check_words(recognizer: Recognizer, seeds: int) -> None:
    for seed in range(seeds):
        words = random.Random(seed).choices(WORDS, k=1 + seed * 7)
        (segment,) = recognizer.recognize(tones(words, before_s=0.24, after_s=0.5), Asked())
        assert segment.text == " ".join(words)
        assert (segment.start_s, segment.end_s) == pytest.approx((0.24, 0.24 + len(words) * WORD_S))


def test_words(recognizer: Recognizer) -> None:
    check_words(recognizer, seeds=8)


def test_twenty_at_once_do_not_mix(recognizer: Recognizer) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: check_words(recognizer, seeds=4), range(20)))


@pytest.mark.parametrize("samples", [0, 1, 16_000])
def test_silence_of_any_length_says_nothing(recognizer: Recognizer, samples: int) -> None:
    assert list(recognizer.recognize(np.zeros(samples, np.float32), Asked())) == []


def test_what_exports_do_not_tell_is_refused(recognizer: Recognizer) -> None:
    for asked in (Asked(word_times=True), Asked(keywords=("x",)), Asked(language="de")):
        with pytest.raises(InvalidRequest):
            list(recognizer.recognize(tones(["alpha"]), asked))
    assert recognizer.utterance(Asked()) is None


def test_a_closed_recognizer_says_so(tiny: Path) -> None:
    one = loaded(tiny, Device.CPU)
    one.close()
    with pytest.raises(ValueError, match="closed"):
        list(one.recognize(tones(["alpha"]), Asked()))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("onnx/encoder_model.onnx", b"<html>", "cannot open"),
        ("onnx/decoder_model_merged.onnx", "onnx/encoder_model.onnx", "no(t| is no).* merged Moonshine decoder"),
        ("onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx", "not a Moonshine encoder"),
        ("tokenizer.json", b"{}", "tokenizer.json is no tokenizer"),
        ("config.json", b'{"eos_token_id": [2, 3]}', "eos_token_id"),
    ],
)
def test_a_wrong_file_is_named(tiny: Path, tmp_path: Path, name: str, content: bytes | str, said: str) -> None:
    make_moonshine_onnx(tmp_path / "copy")
    wrong = content if isinstance(content, bytes) else (tiny / content).read_bytes()
    (tmp_path / "copy" / name).write_bytes(wrong)
    with pytest.raises(ProviderError, match=said):
        loaded(tmp_path / "copy", Device.CPU)


def on_vulkan(script: str, path: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the drivers' environment is read once."""
    environ = environment() | changed
    argv = [sys.executable, "-c", script, str(path)]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_vulkan_understands_the_same_words(tiny: Path) -> None:
    done = on_vulkan(ON_VULKAN, tiny)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("WebGpuExecutionProvider") == 2


def test_without_a_driver_vulkan_is_not_there(tiny: Path) -> None:
    done = on_vulkan(OPENS, tiny / "onnx/encoder_model.onnx", VK_ICD_FILENAMES="/none")
    assert done.returncode
    assert "on vulkan: Failed to get a WebGPU adapter: No supported adapters (see" in done.stderr


@pytest.mark.skipif(Path("/dev/dri").exists(), reason="this machine has a GPU")
def test_without_a_gpu_software_is_not_taken_for_one(tiny: Path) -> None:
    done = on_vulkan(OPENS, tiny / "onnx/encoder_model.onnx", **{SOFTWARE_VARIABLE: "0"})
    assert done.returncode
    assert f"finds no GPU for Vulkan on this machine; software drivers count with {SOFTWARE_VARIABLE}=1" in done.stderr


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.onnx.session.find_spec", lambda name: None)
    assert "pip install 'hal0[vulkan]'" in str(vulkan_trouble())


def test_a_loader_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.onnx.session.LOADER", "libnone.so.1")
    assert "needs libnone.so.1" in str(vulkan_trouble())


def test_other_devices_are_refused(tiny: Path) -> None:
    with pytest.raises(ProviderError, match="allowed: cpu, vulkan"):
        open_session(tiny / "onnx/encoder_model.onnx", Device.ROCM, 1)


def test_a_decoder_must_say_its_sizes(tiny: Path, tmp_path: Path) -> None:
    make_moonshine_onnx(tmp_path / "copy")
    path = tmp_path / "copy/onnx/decoder_model_merged.onnx"
    graph = onnx.load(path)
    for one in graph.graph.input:
        if one.name.startswith("past_key_values."):
            one.type.tensor_type.shape.dim[3].dim_param = "width"
    onnx.save(graph, path)
    with pytest.raises(ProviderError, match="does not say the size of past_key_values"):
        loaded(tmp_path / "copy", Device.CPU)
