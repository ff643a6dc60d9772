"""A folder of a repository as a slot's model: all of it, and nothing beside it."""

import hashlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import scan_cache_dir, snapshot_download

from providers.pulling import ModelUnavailable, PullProgress
from serve_app.cli import main
from serve_app.models import ModelStore, ModelUse
from tests.support.hub import Fault, Hub
from tests.support.hub_client import be_quick, hub_env, pull_command, slot, use_hub
from tests.unit.test_models_pull import until

REPO = "acme/voice"
FOLDER = "model/en"
SOURCE = f"hf://{REPO}/{FOLDER}/"
SIZES = {
    "README.md": 10,
    "model/en/encoder.ort": 400_000,
    "model/en/deep/er/tokenizer.bin": 3_000,
    "model/en-medium/encoder.ort": 500,
    "model/english.json": 20,
    "other/model/en/encoder.ort": 40,
}
"""In bytes. Their contents differ."""
INSIDE = ["model/en/encoder.ort", "model/en/deep/er/tokenizer.bin"]
ENCODER = INSIDE[0]
TOTAL = sum(SIZES[name] for name in INSIDE)


def content(name: str) -> bytes:
    return (hashlib.sha256(name.encode()).digest() * (SIZES[name] // 32 + 1))[: SIZES[name]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {}
    for number, name in enumerate(SIZES):
        files[name] = tmp_path / f"file{number}"
        files[name].write_bytes(content(name))
    with Hub({REPO: files}) as running:
        use_hub(monkeypatch, running.url, tmp_path / "cache")
        be_quick(monkeypatch)
        monkeypatch.setenv("HAL0_HOME", str(tmp_path / "home"))
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home/models")


def fetch(store: ModelStore, source: str = SOURCE) -> Path:
    return store.fetch(slot(source)).main


def pulled(hub: Hub) -> list[str]:
    """Every file that was asked for, once for each time."""
    return sorted(name for name in SIZES for _ in range(hub.downloads(REPO, name)))


def files_in(folder: Path) -> dict[str, bytes]:
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def hal0(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def config(folder: Path, source: str) -> str:
    """The path of a configuration whose slot `hear` has `source` for its model."""
    path = folder / "config.yaml"
    slots = f"[{{name: hear, provider: llama.cpp, model: '{source}', capabilities: [chat]}}]"
    path.write_text(f"applications: [{{args: {{slots: {slots}}}}}]")
    return str(path)


def snapshot_of(hub: Hub, tmp_path: Path) -> Path:
    return tmp_path / "cache/models--acme--voice/snapshots" / hub.commit(REPO)


@pytest.mark.parametrize("revision", ["", "@main", "@COMMIT"])
def test_all_of_it_and_nothing_beside_it(hub: Hub, store: ModelStore, tmp_path: Path, revision: str) -> None:
    source = f"hf://{REPO}{revision.replace('COMMIT', hub.commit(REPO))}/{FOLDER}/"
    assert not store.present(slot(source))
    folder = fetch(store, source)
    assert folder == snapshot_of(hub, tmp_path) / FOLDER
    assert files_in(folder) == {name.removeprefix(f"{FOLDER}/"): content(name) for name in INSIDE}
    assert pulled(hub) == sorted(INSIDE)
    assert store.present(slot(source)) and not store.present(slot(f"hf://{REPO}"))


def test_what_is_here_asks_nobody(hub: Hub, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch(store)
    asked = len(hub.requests)
    use_hub(monkeypatch, hub.url, tmp_path / "cache", offline=True)
    assert store.present(slot(SOURCE)) and fetch(store) == folder
    assert not store.present(slot(f"hf://{REPO}/model/en-medium/"))
    with pytest.raises(ModelUnavailable, match="model/en-medium/") as refused:
        fetch(store, f"hf://{REPO}/model/en-medium/")
    assert refused.value.code == "offline"
    assert len(hub.requests) == asked


def test_a_file_that_has_gone_comes_back_alone(hub: Hub, store: ModelStore) -> None:
    folder = fetch(store)
    (folder / "encoder.ort").resolve().unlink()
    assert not store.present(slot(SOURCE))
    assert files_in(fetch(store))["encoder.ort"] == content(ENCODER)
    assert pulled(hub) == sorted([*INSIDE, ENCODER])


def test_files_and_folders_of_a_repository_share_what_is_here(hub: Hub, store: ModelStore) -> None:
    file = fetch(store, f"hf://{REPO}/{ENCODER}")
    assert fetch(store) == file.parent
    outer = fetch(store, f"hf://{REPO}/model/")
    assert outer == file.parents[1] and store.present(slot(f"hf://{REPO}/model/en-medium/"))
    assert fetch(store, f"hf://{REPO}") == outer.parent
    assert pulled(hub) == sorted(SIZES)


def test_what_another_tool_pulled_is_present(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    snapshot_download(REPO, cache_dir=cache, endpoint=hub.url, token=False, allow_patterns=f"{FOLDER}/*")
    assert store.present(slot(SOURCE))
    assert not store.present(slot(f"hf://{REPO}/model/"))


def test_a_folder_beside_other_sources(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    files = store.fetch(slot(SOURCE, extra=f"hf://{REPO}/model/en-medium/", note=f"hf://{REPO}/README.md"))
    snapshot = snapshot_of(hub, tmp_path)
    assert files.main == snapshot / FOLDER
    assert files.companions == {"extra": snapshot / "model/en-medium", "note": snapshot / "README.md"}


def test_progress_is_over_its_files(hub: Hub, store: ModelStore) -> None:
    seen: list[PullProgress] = []
    hub.faults[REPO, ENCODER] = Fault(bytes_per_second=800_000)
    store.fetch(slot(SOURCE), seen.append)
    assert {one.bytes_total for one in seen} == {TOTAL}
    assert seen[-1].bytes_done == TOTAL
    assert {one.file for one in seen} <= {f"{REPO}/{name}" for name in INSIDE}


def test_a_spoiled_file_is_named_and_removed(hub: Hub, store: ModelStore) -> None:
    hub.faults[REPO, ENCODER] = Fault(corrupt=True, times=1)
    with pytest.raises(ModelUnavailable, match=f"hf://{REPO}/{ENCODER}'") as refused:
        fetch(store)
    assert refused.value.code == "checksum_mismatch"
    assert not store.present(slot(SOURCE))
    assert files_in(fetch(store))["encoder.ort"] == content(ENCODER)


def test_goes_on_after_a_kill(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    hub.faults[REPO, ENCODER] = Fault(stall_after=300_000)
    env = hub_env(hub.url, tmp_path / "cache")
    partial = f"models--acme--voice/blobs/{hashlib.sha256(content(ENCODER)).hexdigest()}.incomplete"
    with subprocess.Popen(pull_command(store.folder, SOURCE), env=env, stdout=subprocess.DEVNULL) as pull:
        until(lambda: (one := tmp_path / "cache" / partial).exists() and one.stat().st_size == 300_000)
        listed = hal0("models").output
        refused = hal0("models", "rm", SOURCE)
        pull.send_signal(signal.SIGKILL)
    assert f"hf://{REPO}/{ENCODER}" in listed and "partial: 293.0 KiB of 390.6 KiB" in listed
    assert refused.exit_code == 1 and "being pulled" in refused.output
    hub.faults.clear()
    assert not store.present(slot(SOURCE))
    again = subprocess.run(pull_command(store.folder, SOURCE), env=env, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert files_in(Path(again.stdout.strip()))["encoder.ort"] == content(ENCODER)
    assert hub.bytes_served(REPO, ENCODER) == SIZES[ENCODER]


def test_two_processes_share_every_download(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    hub.faults[REPO, ENCODER] = Fault(bytes_per_second=800_000)
    command, env = pull_command(store.folder, SOURCE), hub_env(hub.url, tmp_path / "cache")
    pulls = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {pull.communicate(timeout=60)[0].strip() for pull in pulls}
    assert paths == {str(snapshot_of(hub, tmp_path) / FOLDER)}
    assert pulled(hub) == sorted(INSIDE)


def test_it_is_listed_and_removed_as_one(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    folder = fetch(store)
    fetch(store, f"hf://{REPO}/model/en-medium/")
    path = config(tmp_path, SOURCE)
    with ModelUse(tmp_path / "home/run", "hear", [folder]):
        rows = hal0("models", "--config", path).output.splitlines()[1:]
        refused = [hal0("models", "rm", source) for source in (SOURCE, f"hf://{REPO}/{ENCODER}", f"hf://{REPO}")]
        other = hal0("models", "rm", f"hf://{REPO}/model/en-medium/")
    shown = {row.split()[0]: row.split()[3:] for row in rows}
    assert shown == {
        f"hf://{REPO}/model/en-medium/encoder.ort": ["-", "-"],
        **{f"hf://{REPO}/{name}": ["hear", "hear"] for name in INSIDE},
    }
    for result in refused:
        assert result.exit_code == 1 and "in use by hear" in result.output
    assert other.exit_code == 0
    assert store.present(slot(SOURCE))
    assert hal0("models", "rm", SOURCE).output == f"removed {SOURCE} (393.6 KiB)\n"
    assert list((tmp_path / "cache").glob("models--*")) == []
    assert scan_cache_dir(tmp_path / "cache").warnings == []
    with pytest.raises(FileNotFoundError):
        ModelUse(tmp_path / "home/run", "hear", [folder]).hold()


@pytest.mark.parametrize("name", ["model/e", "model/en/encoder", "odel/en"])
def test_a_beginning_of_its_name_is_not_the_folder(hub: Hub, store: ModelStore, name: str) -> None:
    fetch(store)
    source = f"hf://{REPO}/{name}/"
    assert not store.present(slot(source))
    assert hal0("models", "rm", source).exit_code == 1
    with pytest.raises(ModelUnavailable) as refused:
        fetch(store, source)
    assert refused.value.code == "model_not_found"
    assert store.present(slot(SOURCE))


def test_pull_tells_what_a_folder_lacks(hub: Hub, tmp_path: Path) -> None:
    result = hal0("pull", config(tmp_path, f"hf://{REPO}/{FOLDER}"))
    assert result.exit_code == 1
    assert "model_not_found" in result.output and "a folder has a slash at its end" in result.output
