"""What no process imports, because it does not use it: memory that is lost for nothing, and time before it begins."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from providers.deferred import deferring

ENGINES = (
    *("moonshine_voice", "faster_whisper", "ctranslate2", "tokenizers"),
    *("kokoro_onnx", "phonemizer", "misaki", "jieba", "f5_tts", "torch"),
    *("onnxruntime", "onnx", "av", "xllamacpp", "gguf"),
)
HUB = ("huggingface_hub", "httpx", "httpx2")
"""Wanted where a model is pulled, alone."""


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        pytest.param("providers.guard", (*ENGINES, *HUB, "ray", "numpy", "aiohttp", "pydantic", "asyncio"), id="guard"),
        pytest.param("providers.registry", (*ENGINES, *HUB, "ray", "numpy", "aiohttp", "yaml"), id="all-providers"),
        pytest.param("serve_app.cli", (*ENGINES, *HUB, "ray", "numpy", "aiohttp"), id="command"),
        pytest.param("serve_app.launcher", (*ENGINES, *HUB, "ray", "numpy", "aiohttp"), id="launcher"),
        pytest.param("serve_app.preload", (*ENGINES, *HUB), id="slot-and-idle-worker"),
        pytest.param("serve_app.board_deployment", (*ENGINES, *HUB), id="board"),
        pytest.param("serve_app.ingress", (*ENGINES, *HUB), id="ingress"),
        pytest.param("serve_app.autoscaling", (*ENGINES, *HUB, "aiohttp"), id="policy"),
        pytest.param("serve_app.run", (*ENGINES, *HUB), id="driver"),
        pytest.param("providers.llamacpp.embedded", ("ray", "numpy", "aiohttp", "pydantic"), id="embedded-llama.cpp"),
        pytest.param("providers.native.child", (*ENGINES, *HUB, "ray"), id="native-engine-apart"),
        pytest.param("providers.whisper.library", ("av", "onnxruntime", "ray"), id="whisper"),
        pytest.param("providers.kokoro.library", ("joblib", "av", "ray"), id="kokoro"),
        pytest.param("providers.moonshine.library", ("onnxruntime", "av", "ray"), id="moonshine"),
    ],
)
def test_nothing_is_imported_for_nothing(module: str, unused: Collection[str]) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({tuple(unused)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that can be imported, and another that imports it."""
    (tmp_path / "unused_part.py").write_text("imported = True\n")
    (tmp_path / "whole_library.py").write_text("import unused_part\ndef used(): return unused_part.imported\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("unused_part", "whole_library"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "unused_part"


def test_a_deferred_library_is_imported_when_it_is_used(library: str) -> None:
    with deferring(library):
        import whole_library  # type: ignore[import-not-found]
    assert library not in sys.modules
    assert whole_library.used() and library in sys.modules


def test_others_import_a_deferred_library_as_always(library: str) -> None:
    with deferring(library):
        import whole_library
    import unused_part  # type: ignore[import-not-found]

    assert vars(unused_part)["imported"] and whole_library.used()


def test_a_library_that_is_used_while_it_is_deferred_is_imported(library: str) -> None:
    with deferring(library):
        import whole_library

        assert whole_library.used()
    assert vars(sys.modules[library])["imported"]


def test_what_has_been_imported_already_is_not_deferred(library: str) -> None:
    import unused_part

    with deferring(library):
        import whole_library
    assert whole_library.unused_part is unused_part
