"""How far a load is, by what vLLM writes: a bar while it reads weights, and one while it captures CUDA graphs. Pure.

Between the two it compiles and measures, and tells nothing. Other formats than safetensors have the same bar.
"""

import re

WEIGHTS_SHARE = 0.7
_WEIGHTS = re.compile(r"Loading \w+ checkpoint shards[^:]*:\s+(\d{1,3})% Completed")
_WEIGHTS_DONE = re.compile(r"Loading weights took|Model loading took")
_GRAPHS = re.compile(r"Capturing CUDA graphs[^:%]*:\s+(\d{1,3})%")
_ALL_DONE = re.compile(r"Graph capturing finished|Starting vLLM server on")


def load_progress(output: str) -> float | None:
    """0..1; None where it is not known."""
    if _ALL_DONE.search(output):
        return 1.0
    if graphs := _GRAPHS.findall(output):
        return WEIGHTS_SHARE + (1 - WEIGHTS_SHARE) * _share(graphs[-1])
    if _WEIGHTS_DONE.search(output):
        return WEIGHTS_SHARE
    if weights := _WEIGHTS.findall(output):
        return WEIGHTS_SHARE * _share(weights[-1])
    return None


def _share(percent: str) -> float:
    return min(100, int(percent)) / 100
