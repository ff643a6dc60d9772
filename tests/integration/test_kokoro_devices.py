"""Kokoro on a software Vulkan driver, and devices that are not there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from providers.devices import Device
from providers.errors import ProviderError
from providers.onnx.session import CUDA_PROVIDER, SOFTWARE_VARIABLE, open_session
from providers.tiny.kokoro import make_kokoro
from tests.support.kokoro_voice import loaded, manner, spoken
from tests.support.software_vulkan import environment

TEXT = "The quick brown fox jumps over the lazy dog, and hello."
SPEAKS = f"""
import sys
from pathlib import Path
import numpy as np
from providers.devices import Device
from tests.support.kokoro_voice import loaded, manner
one = loaded(Path(sys.argv[1]), Device.VULKAN)
np.save(sys.argv[2], np.concatenate(list(one.speak({TEXT!r}, manner("af_bella", "bm_george", speed=1.2)))))
print(one._model.sess.get_providers())
one.close()
"""
LOADS = """
import sys
from pathlib import Path
from providers.devices import Device
from tests.support.kokoro_voice import loaded
loaded(Path(sys.argv[1]), Device.VULKAN)
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-kokoro"
    make_kokoro(folder)
    return folder


def on_vulkan(script: str, *arguments: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the drivers' environment is read once."""
    argv = [sys.executable, "-c", script, *map(str, arguments)]
    environ = environment() | changed
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_vulkan_speaks_as_the_cpu_does(tiny: Path, tmp_path: Path) -> None:
    done = on_vulkan(SPEAKS, tiny, tmp_path / "spoken.npy")
    assert done.returncode == 0, done.stderr
    assert "WebGpuExecutionProvider" in done.stdout
    one = loaded(tiny)
    on_cpu = np.concatenate(list(one.speak(TEXT, manner("af_bella", "bm_george", speed=1.2))))
    one.close()
    there = np.load(tmp_path / "spoken.npy")
    assert there.shape == on_cpu.shape and np.abs(on_cpu).max() > 0.2
    assert np.abs(there - on_cpu).max() < 1e-3


def test_without_a_driver_vulkan_is_not_there(tiny: Path) -> None:
    done = on_vulkan(LOADS, tiny, VK_ICD_FILENAMES="/none")
    assert done.returncode
    assert "kokoro-v1.0.onnx on vulkan: Failed to get a WebGPU adapter: No supported adapters (see" in done.stderr


@pytest.mark.skipif(Path("/dev/dri").exists(), reason="this machine has a GPU")
def test_without_a_gpu_software_is_not_taken_for_one(tiny: Path) -> None:
    done = on_vulkan(LOADS, tiny, **{SOFTWARE_VARIABLE: "0"})
    assert done.returncode
    assert f"finds no GPU for Vulkan on this machine; software drivers count with {SOFTWARE_VARIABLE}=1" in done.stderr


def test_without_a_loader_vulkan_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.onnx.session.LOADER", "libnone.so.1")
    with pytest.raises(ProviderError, match="needs libnone.so.1; install your system's Vulkan loader"):
        loaded(tiny, Device.VULKAN)


def has_cuda_build() -> bool:
    import onnxruntime  # type: ignore[import-untyped]

    return CUDA_PROVIDER in onnxruntime.get_available_providers()


@pytest.mark.skipif(has_cuda_build(), reason="ONNX Runtime's GPU build is installed")
def test_cuda_needs_the_gpu_build(tiny: Path) -> None:
    with pytest.raises(ProviderError, match="pip install 'onnxruntime-gpu"):
        loaded(tiny, Device.CUDA)


@pytest.mark.skipif(has_cuda_build(), reason="ONNX Runtime's GPU build is installed")
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_cuda_that_falls_back_to_the_cpu_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the GPU build does where CUDA's libraries or the GPU are missing, and the usual one, if it is asked."""
    monkeypatch.setattr("providers.onnx.session._require_cuda_build", lambda: None)
    with pytest.raises(ProviderError, match="cannot use CUDA on this machine"):
        open_session(tiny / "kokoro-v1.0.onnx", Device.CUDA, 1)


@pytest.mark.skipif(not has_cuda_build() or not Path("/dev/nvidia0").exists(), reason="no NVIDIA GPU with CUDA here")
def test_cuda_speaks(tiny: Path) -> None:
    one = loaded(tiny, Device.CUDA)
    assert len(spoken(one, "hello", manner("af_sky")))
    one.close()
