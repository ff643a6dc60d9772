"""Every process imports all providers: none of them may bring its engine's libraries along."""

import subprocess
import sys

HEAVY = (
    *("moonshine_voice", "faster_whisper", "ctranslate2", "tokenizers"),
    *("kokoro_onnx", "phonemizer", "misaki", "jieba", "f5_tts", "torch"),
    *("onnxruntime", "onnx", "av", "ray"),
)


def test_the_registry_imports_no_engine() -> None:
    code = f"import sys, providers.registry; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
