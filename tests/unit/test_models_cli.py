"""`hal0 pull` and `hal0 models`."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from huggingface_hub import scan_cache_dir

from providers.pulling import PullProgress
from serve_app.cli import main
from serve_app.models import ModelUse
from serve_app.models.bar import told
from tests.support.hub import Fault, Hub
from tests.support.hub_client import be_quick, hub_env, use_hub
from tests.unit.test_models_pull import until

CONTENT = bytes(range(256)) * 4000
REPO = "acme/models"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    file = tmp_path / "m.gguf"
    file.write_bytes(CONTENT)
    other = tmp_path / "other.gguf"
    other.write_bytes(CONTENT[:1000])
    with Hub({REPO: {"m.gguf": file, "sub/other.gguf": other}}) as running:
        use_hub(monkeypatch, running.url, tmp_path / "cache")
        be_quick(monkeypatch)
        monkeypatch.setenv("HAL0_HOME", str(tmp_path / "home"))
        monkeypatch.chdir(tmp_path)
        yield running


def config(folder: Path, **models: str) -> Path:
    slots = [
        {"name": name, "provider": "llama.cpp", "model": model, "capabilities": ["chat"]}
        for name, model in models.items()
    ]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"applications": [{"args": {"slots": slots}}]}))
    return path


def hal0(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def rows(result: Result) -> dict[str, list[str]]:
    """The listing's columns by source; two spaces part them."""
    assert result.exit_code == 0, result.output
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in result.output.splitlines()]
    assert lines[0] == ["SOURCE", "SIZE", "SLOTS", "IN USE"]
    return {line[0]: line[1:] for line in lines[1:]}


def test_pulls_what_a_configuration_names_once(hub: Hub, tmp_path: Path) -> None:
    file = config(tmp_path, chat=f"hf://{REPO}/m.gguf", small=f"hf://{REPO}/sub/other.gguf")
    first, second = hal0("pull", file), hal0("pull", file)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "chat: is there now" in first.output and "% of 1000.0 KiB" in first.output
    assert second.output == "chat: is there already\nsmall: is there already\n"


def test_pulls_only_the_slots_that_are_named(hub: Hub, tmp_path: Path) -> None:
    file = config(tmp_path, chat=f"hf://{REPO}/m.gguf", small=f"hf://{REPO}/sub/other.gguf")
    assert hal0("pull", file, "small").exit_code == 0
    assert hub.downloads(REPO, "m.gguf") == 0


def test_a_slot_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    result = hal0("pull", config(tmp_path, chat="m.gguf"), "chta")
    assert result.exit_code == 2
    assert "no slot 'chta'; allowed: chat" in result.output


@pytest.mark.parametrize("words", [("pull", "absent.yaml"), ("models", "--config", "absent.yaml")])
def test_a_configuration_that_is_not_there(hub: Hub, words: tuple[str, ...]) -> None:
    result = hal0(*words)
    assert result.exit_code == 2
    assert "absent.yaml" in result.output


def test_one_failure_does_not_stop_the_others(hub: Hub, tmp_path: Path) -> None:
    result = hal0("pull", config(tmp_path, bad=f"hf://{REPO}/absent.gguf", chat=f"hf://{REPO}/m.gguf"))
    assert result.exit_code == 1
    assert "bad: failed: model_not_found: " in result.output
    assert "chat: is there now" in result.output


def partial_bytes(tmp_path: Path) -> int:
    return sum(one.stat().st_size for one in tmp_path.glob("cache/*/blobs/*.incomplete"))


def start_pull(hub: Hub, tmp_path: Path, stdout: int) -> "subprocess.Popen[bytes]":
    file = config(tmp_path, chat=f"hf://{REPO}/m.gguf")
    env = hub_env(hub.url, tmp_path / "cache") | {"HAL0_HOME": str(tmp_path / "home"), "COLUMNS": "150"}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.Popen([sys.executable, "-m", "serve_app", "pull", str(file)], env=env, stdout=stdout)


def test_control_c_keeps_what_has_come(hub: Hub, tmp_path: Path) -> None:
    hub.faults[REPO, "m.gguf"] = Fault(stall_after=300_000)
    pull = start_pull(hub, tmp_path, subprocess.PIPE)
    until(lambda: partial_bytes(tmp_path) == 300_000)
    pull.send_signal(signal.SIGINT)
    output, _ = pull.communicate(timeout=20)
    assert pull.returncode == 130
    assert b"goes on from there" in output
    hub.faults.clear()
    listed = rows(hal0("models"))[f"hf://{REPO}/m.gguf"]
    assert listed[0].startswith("partial: ") and listed[0].endswith("of 1000.0 KiB")
    assert hal0("pull", tmp_path / "config.yaml").exit_code == 0
    assert hub.bytes_served(REPO, "m.gguf") < 1.1 * len(CONTENT)


def test_a_terminal_sees_a_bar(hub: Hub, tmp_path: Path) -> None:
    hub.faults[REPO, "m.gguf"] = Fault(bytes_per_second=1_000_000)
    ours, theirs = pty.openpty()
    pull = start_pull(hub, tmp_path, theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 1000)
        except OSError:
            break
    os.close(ours)
    assert pull.wait(20) == 0
    assert b"###" in shown and b"% of 1000.0 KiB" in shown and b"/s" in shown and b" left" in shown


def test_what_is_not_known_is_not_told() -> None:
    assert told(PullProgress(2048, None, None, None, "m")) == "2.0 KiB"
    assert told(PullProgress(2048, 4096, 1024.0, 62.0, "m")) == "50% of 4.0 KiB, 1.0 KiB/s, 1:02 left"


def test_lists_every_kind_of_model(hub: Hub, tmp_path: Path) -> None:
    url = f"{hub.url}/{REPO}/resolve/main/m.gguf"
    local = tmp_path / "home/models/mine/local.gguf"
    local.parent.mkdir(parents=True)
    local.write_bytes(b"12")
    whole, file = f"hf://{REPO}", f"hf://{REPO}/m.gguf"
    path = config(tmp_path, chat=file, again=f"hf://{REPO}@main/m.gguf", all=whole, web=url, own="mine/local.gguf")
    assert hal0("pull", path).exit_code == 0
    snapshot = next((tmp_path / "cache").glob("models--*/snapshots/*"))
    with ModelUse(tmp_path / "home/run", "chat", [snapshot / "m.gguf"]):
        listed = rows(hal0("models", "--config", path))
    assert listed == {
        file: ["1000.0 KiB", "chat, again, all", "chat"],
        f"{whole}/sub/other.gguf": ["1000 B", "all", "-"],
        url: ["1000.0 KiB", "web", "-"],
        "mine/local.gguf": ["2 B", "own", "-"],
    }


def test_an_empty_store(hub: Hub) -> None:
    assert "no models" in hal0("models").output


def test_removes_by_source(hub: Hub, tmp_path: Path) -> None:
    url = f"{hub.url}/{REPO}/resolve/main/m.gguf"
    local = tmp_path / "home/models/mine/local.gguf"
    local.parent.mkdir(parents=True)
    local.write_bytes(b"12")
    sources = [f"hf://{REPO}/m.gguf", f"hf://{REPO}/sub/other.gguf", url, "mine/local.gguf"]
    hal0("pull", config(tmp_path, a=sources[0], b=sources[1], c=url))
    for number, source in enumerate(sources, 1):
        assert hal0("models", "rm", source).exit_code == 0
        left = hal0("models")
        assert number == len(sources) or list(rows(left)) == sorted(sources[number:])
        if (tmp_path / "cache").exists():
            assert scan_cache_dir(tmp_path / "cache").warnings == []
    assert "no models" in left.output
    assert list((tmp_path / "cache").glob("models--*")) == []
    assert [one for one in (tmp_path / "home/models").rglob("*") if one.suffix != ".lock"] == [
        tmp_path / "home/models/urls"
    ]
    assert hal0("pull", tmp_path / "config.yaml").exit_code == 0


def test_a_whole_repository_goes_at_once(hub: Hub, tmp_path: Path) -> None:
    hal0("pull", config(tmp_path, all=f"hf://{REPO}"))
    assert hal0("models", "rm", f"hf://{REPO}").exit_code == 0
    assert list((tmp_path / "cache").glob("models--*")) == []


def test_what_a_live_slot_uses_stays(hub: Hub, tmp_path: Path) -> None:
    source = f"hf://{REPO}/m.gguf"
    hal0("pull", config(tmp_path, chat=source))
    snapshot = next((tmp_path / "cache").glob("models--*/snapshots/*"))
    with ModelUse(tmp_path / "home/run", "chat", [snapshot]):
        result = hal0("models", "rm", source)
        assert result.exit_code == 1
        assert "in use by chat" in result.output
    assert hal0("models", "rm", source).exit_code == 0


def test_what_is_not_stored_cannot_be_removed(hub: Hub) -> None:
    result = hal0("models", "rm", "hf://acme/models/m.gguf")
    assert result.exit_code == 1
    assert "nothing that is stored" in result.output


def test_partial_files_go_too_but_not_while_they_grow(hub: Hub, tmp_path: Path) -> None:
    source = f"hf://{REPO}/m.gguf"
    hub.faults[REPO, "m.gguf"] = Fault(stall_after=300_000)
    pull = start_pull(hub, tmp_path, subprocess.DEVNULL)
    until(lambda: partial_bytes(tmp_path) == 300_000)
    assert "being pulled" in hal0("models", "rm", source).output
    pull.kill()
    pull.wait()
    assert hal0("models", "rm", source).exit_code == 0
    assert list((tmp_path / "cache").glob("models--*")) == []
