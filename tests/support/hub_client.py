"""The model store as a client of a stand-in Hub, in the test's own process or in another."""

import os
import sys
from pathlib import Path

import pytest

from providers.capabilities import Capability
from providers.spec import SlotSpec

PULL = """
import sys
from pathlib import Path
from serve_app.models import ModelStore
from tests.support.hub_client import slot
print(ModelStore(Path(sys.argv[1])).fetch(slot(sys.argv[2])).main)
"""


def slot(source: str, **companions: str) -> SlotSpec:
    return SlotSpec(
        name="chat", provider="llama.cpp", model=source, companions=companions, capabilities=(Capability.CHAT,)
    )


def use_hub(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path, offline: bool = False) -> None:
    """huggingface-hub reads its environment when it is imported, so this process is told by its constants."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(cache / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


def be_quick(monkeypatch: pytest.MonkeyPatch, read_timeout_s: float = 15.0) -> None:
    """No waits between tries."""
    monkeypatch.setattr("serve_app.models.patience.FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("serve_app.models.transport.READ_TIMEOUT_S", read_timeout_s)


def pull_command(folder: Path, source: str) -> list[str]:
    """Pulls a source in another process, and prints where it is."""
    return [sys.executable, "-c", PULL, str(folder), source]


def hub_env(endpoint: str, cache: Path) -> dict[str, str]:
    return {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "HF_HOME": str(cache / "home")}
