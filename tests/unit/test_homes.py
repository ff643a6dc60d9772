"""Which nodes are looked at for model files, and what a look tells."""

from pathlib import Path
from typing import Any

import pytest

from serve_app.homes import LOOK_AGAIN_S, Rounds, slots_present

HERE = {"name": "here", "provider": "llama.cpp", "model": "here.gguf", "capabilities": ["chat"]}
GONE = HERE | {"name": "gone", "model": "gone.gguf"}
HALF: dict[str, Any] = HERE | {"name": "half", "companions": {"mmproj": "gone.gguf"}}


def test_a_node_is_looked_at_when_it_comes_and_now_and_then() -> None:
    rounds = Rounds()
    assert rounds.due(("a", "b"), 0.0) == ["a", "b"]
    assert rounds.due(("a", "b", "c"), 5.0) == ["c"]
    assert rounds.due(("a", "b", "c"), LOOK_AGAIN_S) == ["a", "b"]


def test_a_single_machine_is_left_alone() -> None:
    rounds = Rounds()
    assert rounds.due(("a",), 0.0) == []
    assert rounds.due(("a", "b"), 1.0) == ["a", "b"]


def test_a_node_that_comes_back_is_new() -> None:
    rounds = Rounds()
    rounds.due(("a", "b", "c"), 0.0)
    rounds.due(("a", "c"), 1.0)
    assert rounds.due(("a", "b", "c"), 2.0) == ["b"]


def test_a_slot_is_present_when_all_of_its_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL0_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "here.gguf").write_bytes(b"GGUF")
    assert slots_present([HERE, GONE, HALF]) == ["here"]
