"""Who uses which model files on this node."""

import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.models import ModelUse
from serve_app.models.in_use import Use, uses

HOLD = """
import sys, time
from pathlib import Path
from serve_app.models import ModelUse
ModelUse(Path(sys.argv[1]), "chat", [Path(sys.argv[2])]).hold()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models/m.gguf"
    path.parent.mkdir()
    path.touch()
    return path


def test_a_use_is_seen_while_it_is_held(tmp_path: Path, model: Path) -> None:
    run_dir = tmp_path / "run"
    assert uses(run_dir) == []
    with ModelUse(run_dir, "chat", [model]), ModelUse(run_dir, "chat", [model.parent]):
        assert {use.paths for use in uses(run_dir)} == {(model,), (model.parent,)}
        assert {use.slot for use in uses(run_dir)} == {"chat"}
    assert uses(run_dir) == []


def test_holding_and_releasing_twice_is_once(tmp_path: Path, model: Path) -> None:
    use = ModelUse(tmp_path, "chat", [model])
    use.hold()
    use.hold()
    assert len(uses(tmp_path)) == 1
    use.release()
    use.release()
    assert uses(tmp_path) == []


def test_a_folder_covers_what_is_in_it(tmp_path: Path) -> None:
    use = Use("chat", (tmp_path / "repo",))
    assert use.reads(tmp_path / "repo") and use.reads(tmp_path / "repo/sub/m.gguf")
    assert not use.reads(tmp_path / "repository/m.gguf")


def test_a_file_that_has_gone_cannot_be_held(tmp_path: Path, model: Path) -> None:
    model.unlink()
    with pytest.raises(FileNotFoundError):
        ModelUse(tmp_path / "run", "chat", [model]).hold()
    assert uses(tmp_path / "run") == []


def test_the_killed_use_nothing(tmp_path: Path, model: Path) -> None:
    run_dir = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(run_dir), str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert uses(run_dir) == [Use("chat", (model,))]
        holder.kill()
        holder.wait()
    assert list((run_dir / "models").iterdir()) != []
    assert uses(run_dir) == []
    assert list((run_dir / "models").iterdir()) == []
