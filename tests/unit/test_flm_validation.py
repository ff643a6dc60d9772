"""What `flm validate` tells, in words."""

import json
from typing import Any

import pytest

from providers.flm.validation import parsed_report, parsed_version, problems, version_warning

NPU = {"device": "/dev/accel/accel0", "fw_major": 1, "fw_minor": 1, "fw_patch": 2, "fw_build": 64, "fw_ok": True}
GOOD = {
    "object": "npu_stack_validation",
    "platform": "linux",
    "kernel": "6.17.0-generic",
    "kernel_ok": True,
    "amd_device_found": True,
    "all_fw_ok": True,
    "enough_cols": True,
    "memlock_ok": True,
    "memlock_limit": "infinity",
    "drm_version": "0.6",
    "devices": [NPU | {"cols": 8}],
    "ready": True,
}
OLD_FIRMWARE = NPU | {"fw_minor": 0, "fw_ok": False, "cols": 8}


def told(**changes: Any) -> list[str]:
    report = parsed_report(json.dumps(GOOD | {"ready": False} | changes))
    assert report is not None
    return problems(report)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"amd_device_found": False, "devices": []}, [["BIOS", "lsmod | grep amdxdna", "/dev/accel/accel0", "render"]]),
        ({"kernel": "6.14.0-37-generic", "kernel_ok": False}, [["Linux 6.14.0-37-generic", "6.17"]]),
        ({"drm_version": "0.5", "kernel_ok": False}, [["amdxdna 0.5", "0.6"]]),
        ({"kernel": "6.8", "drm_version": "0.1", "kernel_ok": False}, [["Linux 6.8"], ["amdxdna 0.1"]]),
        ({"kernel_ok": False}, [["6.17.0-generic", "amdxdna 0.6", "update both"]]),
        ({"kernel_ok": False, "drm_version": ""}, [["not loaded"]]),
        ({"all_fw_ok": False, "devices": [OLD_FIRMWARE]}, [["1.0.2.64", "1.1", "linux-firmware"]]),
        ({"all_fw_ok": False, "devices": []}, [["of this NPU"]]),
        ({"enough_cols": False, "devices": [NPU | {"cols": 4}]}, [["4 columns", "8", "XDNA 2", "llama.cpp"]]),
        ({"memlock_ok": False, "memlock_limit": "8388608"}, [["8 MiB", "/etc/security/limits.d", "LimitMEMLOCK"]]),
        ({"memlock_ok": False, "memlock_limit": "unknown"}, [["Only unknown"]]),
        ({"amd_device_found": False, "kernel": "5.15", "kernel_ok": False}, [["Linux 5.15"], ["BIOS"]]),
        ({}, [["does not say why", "flm validate"]]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_each_problem_says_what_is_wrong_and_what_to_do(changes: dict[str, Any], words: list[list[str]]) -> None:
    found = told(**changes)
    assert len(found) == len(words), found
    for problem, expected in zip(found, words, strict=True):
        assert all(word in problem for word in expected), problem
        assert problem.endswith(".")


def test_the_programs_verdict_counts() -> None:
    """A version that asks for less than is known here, or tells less."""
    old = {"kernel": "6.10", "drm_version": "0.1", "ready": True}
    assert told(**old) == []
    assert problems(parsed_report('{"ready": true}') or pytest.fail()) == []


@pytest.mark.parametrize("output", ["", "nothing", "[]", "{", '{"ready": 5}', '{"kernel": "6.17"}', '{"ready": [] }'])
def test_what_is_no_report_is_none(output: str) -> None:
    assert parsed_report(output) is None


def test_other_lines_around_a_report_do_not_matter() -> None:
    report = parsed_report(f"[WARNING]  The list is old.\n{json.dumps(GOOD, indent=4)}\nbye\n")
    assert report is not None and report.ready
    assert report.devices[0].firmware == "1.1.2.64"


def test_nesting_without_end_is_no_report() -> None:
    assert parsed_report('{"a":' * 100_000) is None
    assert parsed_version('{"a":' * 100_000) is None


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('{ "version": "0.9.45" }\n', "0.9.45"),
        ('[FLM]  hello\n{"version": "1.0.4"}', "1.0.4"),
        ("FLM v0.9.45", None),
        ('{"version": 1}', None),
        ('{"version": ""}', None),
    ],
)
def test_the_version(output: str, version: str | None) -> None:
    assert parsed_version(output) == version


@pytest.mark.parametrize(
    ("version", "old"),
    [(None, False), ("0.9.43", False), ("1.0.4", False), ("v0.9.45-rc1", False), ("nightly", False), ("0.9.42", True)],
)
def test_only_a_version_that_is_known_to_be_old_is_warned_of(version: str | None, old: bool) -> None:
    warning = version_warning(version)
    assert (warning is not None) == old
    assert warning is None or ("0.9.42" in warning and "0.9.43" in warning)
