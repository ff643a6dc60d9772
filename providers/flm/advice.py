"""What to do about a start of `flm serve` that failed, by what it wrote. Pure.

The texts are from FastFlowLM's sources and from reports at https://github.com/ROCm/FastFlowLM/issues, whose numbers are
named. What a driver says is passed on by the program as it comes.
"""

import re

from providers.flm.validation import RAISE_MEMLOCK

_Rules = tuple[tuple[re.Pattern[str], str], ...]

NO_CONTEXT = (
    "The NPU gave no context to compute in. Another program may hold it: end other flm processes and what else uses "
    "the NPU (`sudo fuser -v /dev/accel/accel0`). If none does, restart the machine; after an update, driver and "
    "firmware must fit each other."
)
# 655
FEWER_ROLES = (
    "This start loads several models at once, and some NPUs have too few contexts for all (reported for Krackan "
    "Point): take a capability from the slot."
)
_ROLE = re.compile(r"(?:ASR|Embedding) mode enabled")


def _rules(*pairs: tuple[str, str]) -> _Rules:
    return tuple((re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in pairs)


_CAUSES = _rules(
    (
        # 416: `flm validate` asks the driver alone, and finds nothing wrong.
        r"No such device with index",
        "The driver is fine, but XRT does not see the NPU: install its plug-in for amdxdna (Ubuntu: libxrt-npu2, Arch: "
        "xrt-plugin-amdxdna) in a version that fits flm; `xrt-smi examine` must list the NPU.",
    ),
    (
        r"Local model.* version: \S+ > ",
        "The model was made for a newer flm: update flm, or remove the model (`flm remove TAG`) and pull it with this "
        "one.",
    ),
    (
        # 592
        r"not compatible with the current FLM version",
        "The model was made for an older flm: fetch it anew with `flm pull TAG --force`.",
    ),
    (
        r"SVA bind|PASID",
        "The NPU needs the IOMMU: take amd_iommu=off from the kernel's command line, if it is there, and restart.",
    ),
    (
        r"mmap.*failed|memlock|Cannot allocate memory|std::bad_alloc",
        f"Memory could not be had or locked: {RAISE_MEMLOCK}; and let no other slot take the memory that the model "
        "needs.",
    ),
    (r"HWCTX", NO_CONTEXT),
    (
        # 536
        r"ERT_CMD_STATE|xrt_core::|DRM_IOCTL_AMDXDNA",
        "The NPU's driver failed: `sudo dmesg | grep amdxdna` says how. Restart the machine; if it happens again, "
        "update kernel, firmware, XRT and flm together.",
    ),
    (
        r"Address already in use",
        "Another program took the port first: load the slot again.",
    ),
    (
        r"Error parsing arguments|unrecognised option|Invalid power mode",
        "This flm does not take the slot's arguments: look at options.extra_args, or update flm.",
    ),
    (
        r"Model not found:",
        "`flm list` shows the tags that this flm knows; a newer flm knows more.",
    ),
    (
        r"Unsupported model family or non-llm|Model tag .* is not supported",
        "The slot's model is none for chat, and flm would load another instead: give it one that `flm list` shows.",
    ),
    (
        r"CURL error|Failed to download|Failed to pull model|No files to download",
        "Files of a model are missing and cannot be fetched: look whether https://huggingface.co can be reached from "
        "here, or copy the models from a machine that has them.",
    ),
    (
        r"Failed to (?:load (?:\w+ )?model|open file)|Failed to load default model",
        "Files of the model may be broken: `flm check TAG` removes those, and the next load fetches them again.",
    ),
)


def advice(output: str) -> str | None:
    """By the most telling line, whatever follows it; None if there is none."""
    words = next((words for cause, words in _CAUSES if cause.search(output)), None)
    if words is NO_CONTEXT and _ROLE.search(output):
        return f"{words} {FEWER_ROLES}"
    return words
