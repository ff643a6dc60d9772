"""What to do about what `flm serve` wrote last."""

import pytest

from providers.flm.advice import FEWER_ROLES, advice

ROLES = "\033[32m[FLM]  ASR mode enabled: reserving additional 1GB of memory\033[0m\n"
NO_CONTEXT = "[ERROR]  Failed to load model: DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err=-22): Invalid argument\n"
DEFAULT = "[Error]  Failed to load default model: qwen3:0.6b\n"


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("Error: No such device with index '0'", "plug-in"),
        ("[WARNING]  Local model version: 1.0.3 > 0.9.45", "update flm"),
        ("[WARNING]  Local model qwen3:4b version: 1.0.3 > 0.9.45", "update flm"),
        ("[FLM]  Model gemma4-it:e4b is not compatible with the current FLM version. ", "pull TAG --force"),
        (NO_CONTEXT + DEFAULT, "fuser"),
        ("Error: mmap(len=67108864) failed (err=-11): Resource temporarily unavailable\n" + DEFAULT, "memlock"),
        ("terminate called after throwing an instance of 'xrt_core::system_error'", "dmesg"),
        ("Insertion error: runlist failed execution (ERT_CMD_STATE_ABORT)", "dmesg"),
        ("amdxdna_drm_open: SVA bind device failed, ret -19", "amd_iommu=off"),
        ("Error: bind: Address already in use [system:98]", "port"),
        ("Error parsing arguments: unrecognised option '--frob'", "extra_args"),
        ("[ERROR]  Model not found: nope; Please check with `flm list` and try again.", "flm list"),
        ('[ERROR]  Unsupported model family or non-llm: "whisper-v3"', "another instead"),
        ("CURL error: Could not resolve hostname\n[FLM]  No files to download for model: qwen3:0.6b", "huggingface.co"),
        ("[ERROR]  Failed to load ASR model: Failed to open file: /m/config.json", "flm check"),
        (DEFAULT, "flm check"),
    ],
)
def test_each_failure_has_its_advice(output: str, word: str) -> None:
    words = advice(f"[FLM]  Using user-specified port: 1\n{output}\n[FLM]  Starting server on port 1...\n")
    assert words is not None and word in words
    assert words.endswith(".")


def test_several_models_at_once_may_be_too_many() -> None:
    assert FEWER_ROLES not in (advice(NO_CONTEXT) or "")
    assert FEWER_ROLES in (advice(ROLES + NO_CONTEXT) or "")


@pytest.mark.parametrize("output", ["", "\n", ROLES, "[FLM]  Loading model: /m/models/Qwen3-0.6B-NPU2\n"])
def test_a_log_without_an_error_has_none(output: str) -> None:
    assert advice(output) is None
