"""The real vLLM: left out unless `make test-vllm` says where it is."""

import os

import pytest

PYTHON = os.environ.get("HAL0_VLLM_PYTHON")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One start of vLLM takes longer than a test otherwise may."""
    for item in items:
        if "vllm_real" in str(item.path):
            item.add_marker(pytest.mark.timeout(600))
            if PYTHON is None:
                item.add_marker(pytest.mark.skip("the real vLLM runs in `make test-vllm`"))
