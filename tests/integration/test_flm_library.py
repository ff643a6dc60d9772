"""A slot's models brought by the emulated `flm`: from nothing, by hand, interrupted, and with each of its faults."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from providers.base import ModelFiles, Node
from providers.flm import fetching, pull_watch
from providers.flm.library import FlmLibrary
from providers.flm.options import FlmSlot
from providers.flm.records import Records
from providers.pulling import ModelUnavailable, PullCancelled, PullProgress
from tests.support.flm import FOLDER, environment, flm
from tests.support.server import eventually, owned_processes

pytestmark = pytest.mark.engine

FLM = FOLDER / "flm"
TAG, NAME = "qwen3:0.6b", "Qwen3-0.6B-NPU2"
ALL = ("chat", "embedding", "transcription")
WHOLE = 1 << 16
FETCH = """
import sys
from pathlib import Path
from tests.integration.test_flm_library import Home, fetch
fetch(Home(Path(sys.argv[1]), make=False).library("pull-slow:30"))
"""


class Home:
    """Where an emulated flm keeps its models; its calls are written down."""

    def __init__(self, folder: Path, make: bool = True) -> None:
        self.folder = folder
        self.weights = folder / "models" / NAME / "model.q4nx"
        self.log = folder / "calls"
        self.program = folder / "bin" / "flm"
        if make:
            self.script("bin/flm", f'exec "{FLM}" "$@"')

    def script(self, name: str, body: str) -> Path:
        program = self.folder / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "$@" >> "{self.log}"\n{body}\n')
        program.chmod(0o755)
        return program

    def calls(self, word: str) -> list[str]:
        """Since this was asked last for any word."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line for line in lines if line.split()[0] == word]

    def library(
        self,
        fault: str = "",
        roles: tuple[str, ...] = ("chat",),
        model: str = TAG,
        env: Mapping[str, str] = {},
        binary: Path | None = None,
        container: Mapping[str, str] | None = None,
    ) -> FlmLibrary:
        told = {
            "env": {"FLM_EMULATOR_FAULT": fault, "FLM_MODEL_PATH": str(self.folder), **env},
            "binary": None if binary is None else str(binary),
            "container": container,
        }
        slot = FlmSlot.model_validate(
            {"name": "npu", "provider": "flm", "model": model, "capabilities": roles, "options": told}
        )
        return FlmLibrary(slot, self.node())

    def node(self) -> Node:
        return Node({"flm": self.program}, environment(self.folder), self.folder / "cache")

    def running(self) -> list[str]:
        return [line for _, line in owned_processes(self.folder)]

    def weights_size(self) -> int:
        return self.weights.stat().st_size if self.weights.exists() else 0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def fetch(library: FlmLibrary, told: Callable[[PullProgress], None] | None = None) -> ModelFiles:
    return library.fetch(told, threading.Event())


def refused(library: FlmLibrary) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as failure:
        fetch(library)
    assert not library.present()
    return failure.value


def test_from_nothing(home: Home) -> None:
    """Three models, and the shares of what has come only grow."""
    library, told = home.library("pull-slow:0.6,list-warning", ALL), list[PullProgress]()
    assert not library.present()
    assert fetch(library, told.append) == ModelFiles(home.weights.parent)
    assert [call.split()[1] for call in home.calls("pull")] == [TAG, "embed-gemma:300m", "whisper-v3:turbo"]
    shares = [one.bytes_done / one.bytes_total for one in told if one.bytes_total]
    assert len(set(shares)) > 4 and shares == sorted(shares) and shares[-1] == 1
    assert {one.bytes_total for one in told[1:]} == {told[-1].bytes_done}
    assert f"{TAG} model.q4nx" in {one.file for one in told}
    assert library.present() and not home.running()

    again = list[PullProgress]()
    assert fetch(library, again.append) == ModelFiles(home.weights.parent)
    assert not again and not home.log.exists()


def test_models_of_roles_alone(home: Home) -> None:
    library = home.library(roles=("embedding", "transcription"), model="embed-gemma:300m")
    assert fetch(library).main.name == "Embedding-Gemma-300M-NPU2"
    assert library.present()
    assert not home.library(roles=("chat", "embedding")).present()


def test_pulled_by_hand(home: Home) -> None:
    """It is verified once, and not pulled."""
    assert flm(home.folder, "pull", TAG).returncode == 0
    library = home.library()
    assert not library.present()
    assert fetch(library).main == home.weights.parent
    assert library.present()
    assert home.calls("pull") == []


def test_half_a_file_that_passes_for_a_model(home: Home) -> None:
    flm(home.folder, "pull", TAG)
    home.weights.write_bytes(home.weights.read_bytes()[:1000])
    assert f"{TAG} ✅" in flm(home.folder, "list").stdout
    library = home.library()
    fetch(library)
    assert library.present() and home.weights_size() == WHOLE


@pytest.mark.parametrize("change", ["removed", "grown", "cut", "program"])
def test_what_changed_since_is_looked_at_again(home: Home, change: str) -> None:
    library = home.library()
    fetch(library)
    match change:
        case "removed":
            home.weights.unlink()
        case "grown":
            home.weights.write_bytes(home.weights.read_bytes() + b"more")
        case "cut":
            home.weights.write_bytes(b"")
        case "program":
            home.program.write_text(home.program.read_text() + "# another version\n")
    assert not library.present()
    home.calls("any")
    fetch(library)
    assert library.present() and home.weights_size() == WHOLE
    assert len(home.calls("pull")) == (change != "program")


def test_by_hand_without_a_network(home: Home) -> None:
    """It is used, and is verified once there is a network."""
    flm(home.folder, "pull", TAG)
    library = home.library("offline")
    assert fetch(library).main == home.weights.parent
    assert not library.present()
    assert fetch(home.library()).main == home.weights.parent
    assert library.present()


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("offline", "offline", "network"),
        ("pull-cut", "pull_failed", "Transferred a partial file"),
        ("pull-corrupt", "pull_failed", "Hash not matched. Try again; what has come stays."),
        ("no-such-fault", "flm_failed", "no-such-fault"),
    ],
)
def test_a_pull_that_fails_says_why_and_can_be_tried_again(home: Home, fault: str, code: str, words: str) -> None:
    failure = refused(home.library(fault))
    assert failure.code == code and words in failure.message
    assert not home.running()
    fetch(home.library("pull-cut:1" if fault == "pull-cut" else ""))
    assert home.library().present()


def test_a_tag_that_there_is_not(home: Home) -> None:
    failure = refused(home.library(model="qwen3:5b", roles=ALL))
    assert failure.code == "model_unknown" and "qwen3:4b" in failure.message
    assert home.calls("pull") == []


def test_without_a_program(home: Home) -> None:
    missing = home.library(binary=home.folder / "none")
    assert refused(missing).code == "flm_missing"
    home.program.chmod(0o644)
    failure = refused(home.library())
    assert failure.code == "flm_missing" and "options.binary" in failure.message
    slot = FlmSlot.model_validate({"name": "npu", "provider": "flm", "model": TAG, "capabilities": ["chat"]})
    failure = refused(FlmLibrary(slot, Node({}, {}, home.folder / "cache")))
    assert failure.code == "flm_missing" and "options.binary" in failure.message


@pytest.mark.parametrize(("runtime", "other"), [("podman", "docker"), ("docker", "podman")])
def test_without_the_runtime_of_its_container(home: Home, runtime: str, other: str) -> None:
    empty = home.folder / "empty"
    empty.mkdir()
    image = {"image": "flm", "runtime": runtime}
    slot = FlmSlot.model_validate(
        {"name": "npu", "provider": "flm", "model": TAG, "capabilities": ["chat"], "options": {"container": image}}
    )
    base = {"PATH": str(empty), "FLM_MODEL_PATH": str(home.folder)}
    failure = refused(FlmLibrary(slot, Node({}, base, home.folder / "cache")))
    assert failure.code == "flm_missing"
    assert f"Install {runtime}, or set `runtime: {other}`" in failure.message
    assert "FastFlowLM" not in failure.message


def test_a_folder_that_cannot_be_written(home: Home) -> None:
    failure = refused(home.library(env={"FLM_MODEL_PATH": "/proc/hal0"}))
    assert failure.code == "store_unwritable"
    assert "/proc/hal0/models" in failure.message and "FLM_MODEL_PATH" in failure.message


def test_a_model_that_is_too_new(home: Home) -> None:
    flm(home.folder, "pull", TAG, FLM_EMULATOR_VERSION="0.9.46")
    failure = refused(home.library())
    assert failure.code == "model_too_new" and "0.9.46 > 0.9.45" in failure.message


def test_a_disk_that_is_too_small(home: Home) -> None:
    """It is told before the first byte."""
    catalogue = home.folder / "model_list.json"
    entry = {
        "name": NAME,
        "url": f"https://huggingface.co/FastFlowLM/{NAME}",
        "files": ["config.json", "model.q4nx"],
        "size": 10**18,
        "details": {},
    }
    catalogue.write_text(json.dumps({"models": {"qwen3": {"0.6b": entry}}}))
    failure = refused(home.library("pull-slow:30", env={"FLM_CONFIG_PATH": str(catalogue)}))
    assert failure.code == "disk_full" and "GiB" in failure.message
    assert not home.running()


def test_models_that_are_elsewhere(home: Home) -> None:
    home.program = home.script("bin/flm", f'FLM_MODEL_PATH="{home.folder}/elsewhere" exec "{FLM}" "$@"')
    failure = refused(home.library())
    assert failure.code == "model_missing" and "FLM_MODEL_PATH" in failure.message


def test_a_cache_that_cannot_be_written(home: Home) -> None:
    (home.folder / "cache").write_text("a file")
    failure = refused(home.library())
    assert failure.code == "store_unwritable" and "cache" in failure.message


def test_a_pull_that_stands_still(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_watch, "STALLED_S", 0.5)
    home.script("bin/flm", f'[ "$1" = pull ] && exec sleep 600\nexec "{FLM}" "$@"')
    assert refused(home.library()).code == "pull_timeout"
    assert not home.running()


def test_cancelled_and_resumed(home: Home) -> None:
    cancelled, told = threading.Event(), list[PullProgress]()
    with ThreadPoolExecutor(1) as threads:
        pull = threads.submit(home.library("pull-slow:30").fetch, told.append, cancelled)
        eventually("weights come", lambda: home.weights_size() > 1000)
        cancelled.set()
        with pytest.raises(PullCancelled):
            pull.result(10)
    assert not home.running()
    had = home.weights_size()
    assert 1000 < had < WHOLE and not home.library().present()
    fetch(home.library())
    assert home.library().present() and len(home.calls("pull")) == 2


def test_cancelled_before_anything(home: Home) -> None:
    home.script("bin/flm", "exec sleep 600")
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(PullCancelled):
        home.library().fetch(None, cancelled)
    assert not home.running()


def killed_in_mid_pull(home: Home) -> None:
    """By kill -9 of the process that fetches, whatever it has started."""
    with subprocess.Popen([sys.executable, "-c", FETCH, str(home.folder)]) as process:
        eventually("weights come", lambda: home.weights_size() > 1000)
        process.send_signal(signal.SIGKILL)


def test_its_process_is_killed_and_the_next_goes_on(home: Home) -> None:
    killed_in_mid_pull(home)
    eventually("flm has ended with it", lambda: not home.running())
    had = home.weights_size()
    assert 1000 < had < WHOLE
    library = home.library()
    assert not library.present()
    fetch(library)
    assert library.present() and home.weights_size() == WHOLE


@pytest.mark.parametrize("killed", ["guard.py", "import Home, fetch"])
def test_a_pull_that_ignores_its_closed_pipe_ends_too(home: Home, killed: str) -> None:
    """As the real program does in a transfer, whether its owner is killed or what stands between both."""
    begun = home.folder / "begun"
    home.script("bin/flm", f'[ "$1" = pull ] && touch "{begun}" && exec sleep 600\nexec "{FLM}" "$@"')
    with subprocess.Popen([sys.executable, "-c", FETCH, str(home.folder)], stderr=subprocess.PIPE) as process:
        eventually("the pull has begun", begun.exists)
        victims = [pid for pid, line in owned_processes(home.folder) if killed in line]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    assert (b"ModelUnavailable" in errors) == (killed == "guard.py")
    eventually("flm has ended with it", lambda: not home.running())


@pytest.mark.parametrize("part", [b"", b'{"flm_ver'])
def test_half_a_configuration_of_a_killed_pull(home: Home, part: bytes) -> None:
    """Every flm command would fail on it."""
    killed_in_mid_pull(home)
    eventually("flm has ended with it", lambda: not home.running())
    config = home.weights.with_name("config.json")
    config.write_bytes(part)
    fetch(home.library())
    assert home.library().present() and json.loads(config.read_bytes())


def test_half_a_configuration_of_another_model(home: Home) -> None:
    flm(home.folder, "pull", "llama3.2:1b")
    config = home.folder / "models" / "Llama-3.2-1B-NPU2" / "config.json"
    config.write_bytes(b"{")
    os.utime(config, (0, 0))
    failure = refused(home.library())
    assert failure.code == "flm_failed" and str(config) in failure.message


def test_a_configuration_that_another_pull_is_writing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left alone, and waited for."""
    monkeypatch.setattr(fetching, "RETRY_S", 0.05)
    config, kept = home.weights.with_name("config.json"), home.folder / "kept"
    # The first fetch lists twice before it pulls: the fourth list is that of the second one, which has failed once.
    failed = f'[ $(grep -c ^list "{home.log}") -ge 4 ]'
    wait = f"for _ in $(seq 200); do {failed} && break; sleep 0.05; done"
    slow = f'mkdir -p "{config.parent}"; : > "{config}"; {wait}; rm "{config}" && {failed} && touch "{kept}"'
    home.script("bin/flm", f'if [ "$1" = pull ]; then {slow}; fi\nexec "{FLM}" "$@"')
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(fetch, home.library())
        eventually("a part of it is there", config.exists, poll_s=0.02)
        second = threads.submit(fetch, home.library())
        assert first.result(30) == second.result(30)
    assert kept.exists()
    assert len(home.calls("pull")) == 1


def test_killed_in_the_last_file_and_without_a_network(home: Home) -> None:
    """All files exist, but they are not believed to be whole."""
    killed_in_mid_pull(home)
    eventually("flm has ended with it", lambda: not home.running())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        home.weights.with_name(name).write_text("{}")
    assert refused(home.library("offline")).code == "offline"
    fetch(home.library())
    assert home.weights_size() == WHOLE


def test_two_at_once(home: Home) -> None:
    """One pulls, the other waits for it, with what it has of its own."""
    told = list[PullProgress]()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(fetch, home.library("pull-slow:1"))
        eventually("weights come", lambda: home.weights_size() > 1000, poll_s=0.02)
        second = threads.submit(fetch, home.library("", ("chat", "embedding")), told.append)
        results: list[Future[ModelFiles]] = [first, second]
        assert {one.result(60).main for one in results} == {home.weights.parent}
    assert sorted(call.split()[1] for call in home.calls("pull")) == ["embed-gemma:300m", TAG]
    assert f"{TAG} (another pull brings it)" in {one.file for one in told}
    assert home.library("", ("chat", "embedding")).present()


def test_cancelled_while_another_pulls(home: Home) -> None:
    cancelled = threading.Event()
    both = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(home.library("pull-slow:30").fetch, None, both)
        eventually("weights come", lambda: home.weights_size() > 1000)
        waiting = list[PullProgress]()
        second = threads.submit(home.library().fetch, waiting.append, cancelled)
        eventually("the second waits", lambda: bool(waiting))
        cancelled.set()
        with pytest.raises(PullCancelled):
            second.result(10)
        assert not first.done()
        both.set()
        with pytest.raises(PullCancelled):
            first.result(10)
    assert not home.running()


def test_in_a_container_what_is_cancelled_is_removed(home: Home) -> None:
    runtime = home.script(
        "bin/podman",
        f'[ "$1" = run ] || exit 0\nwhile [ "$1" != image ]; do shift; done; shift\nexec "{FLM}" "$@"',
    )
    image = {"image": "image", "runtime": "podman"}
    path = f"{runtime.parent}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "FLM_EMULATOR_PYTHON": sys.executable}
    slow = home.library("pull-slow:30", env=env, container=image)
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        pull = threads.submit(slow.fetch, None, cancelled)
        eventually("weights come", lambda: home.weights_size() > 1000)
        cancelled.set()
        with pytest.raises(PullCancelled):
            pull.result(10)
    (removal,) = home.calls("rm")
    assert "hal0-npu-pull" in removal and not home.running()
    fetch(home.library(env=env, container=image))
    assert home.library(env=env, container=image).present()
    assert not home.library().present(), "what one program verified may not do for another"


def test_records_that_are_spoiled(home: Home) -> None:
    library = home.library()
    fetch(library)
    for record in (home.folder / "cache").rglob("*.json"):
        record.write_text("{")
    assert not library.present()
    fetch(library)
    assert library.present()
    slot = FlmSlot.model_validate({"name": "npu", "provider": "flm", "model": TAG, "capabilities": ["chat"]})
    assert Records(slot, home.node()).good("qwen3:4b") is None
