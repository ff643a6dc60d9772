"""kokoro-onnx, without what it imports for nothing."""

from providers.deferred import deferring

with deferring("joblib"):  # 2 MB, for phonemes from several processes
    from kokoro_onnx import Kokoro

__all__ = ["Kokoro"]
