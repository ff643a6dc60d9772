"""How a file comes: resumed, shared, cancelled, measured, and never half a file under its name."""

import errno
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from providers.pulling import ModelUnavailable, PullCancelled, PullProgress
from serve_app.models import ModelStore
from serve_app.models.partial import Partial, Record
from tests.support.hub import Fault, Hub
from tests.support.hub_client import be_quick, hub_env, pull_command, slot, use_hub

CONTENT = bytes(range(256)) * 4000
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REPO, FILE = "acme/models", "m.gguf"
SOURCE = f"hf://{REPO}/{FILE}"
HALF = SIZE // 2
DEADLINE_S = 20.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    file = tmp_path / FILE
    file.write_bytes(CONTENT)
    with Hub({REPO: {FILE: file}}) as running:
        use_hub(monkeypatch, running.url, tmp_path / "cache")
        be_quick(monkeypatch)
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def sources(hub: Hub) -> dict[str, str]:
    """The same file from the Hub and as a plain URL."""
    url = f"{hub.url}/{REPO}/resolve/main/{FILE}"
    return {"hub": SOURCE, "url": url, "url with sha256": f"{url}#sha256={SHA256}"}


every_source = pytest.mark.parametrize("kind", ["hub", "url", "url with sha256"])


def pull_half(hub: Hub, store: ModelStore, source: str) -> Partial:
    """What is left of a pull that broke off in the middle."""
    hub.faults[REPO, FILE] = Fault(stall_after=HALF)
    cancelled = threading.Event()
    thread = threading.Thread(target=lambda: pytest.raises(PullCancelled, store.fetch, slot(source), None, cancelled))
    thread.start()
    until(lambda: hub.bytes_served(REPO, FILE) == HALF and partial_of(store).size == HALF)
    cancelled.set()
    thread.join(DEADLINE_S)
    hub.faults.clear()
    return partial_of(store)


def partial_of(store: ModelStore) -> Partial:
    found = [*store.folder.parent.glob("cache/*/blobs/*.incomplete"), *store.folder.glob("urls/*/*.part")]
    return Partial(found[0] if found else Path("/nowhere"))


def ranges(hub: Hub) -> list[str | None]:
    return [asked for method, _, asked in hub.requests if method == "GET"]


@every_source
def test_goes_on_where_an_earlier_pull_stopped(hub: Hub, store: ModelStore, kind: str) -> None:
    source = sources(hub)[kind]
    assert pull_half(hub, store, source).record() is not None
    assert not store.present(slot(source))
    assert store.fetch(slot(source)).main.read_bytes() == CONTENT
    assert hub.bytes_served(REPO, FILE) == SIZE
    assert ranges(hub) == [None, f"bytes={HALF}-"]
    assert partial_of(store).record() is None


def test_goes_on_after_a_kill(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    hub.faults[REPO, FILE] = Fault(stall_after=HALF)
    env = hub_env(hub.url, tmp_path / "cache")
    pull = subprocess.Popen(pull_command(store.folder, SOURCE), env=env, stdout=subprocess.DEVNULL)
    until(lambda: partial_of(store).size > HALF - 65_536)
    pull.send_signal(signal.SIGKILL)
    pull.wait()
    hub.faults.clear()
    again = subprocess.run(pull_command(store.folder, SOURCE), env=env, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert Path(again.stdout.strip()).read_bytes() == CONTENT
    assert hub.bytes_served(REPO, FILE) <= 1.1 * SIZE


@every_source
def test_a_server_that_gives_the_whole_file_again(hub: Hub, store: ModelStore, kind: str) -> None:
    source = sources(hub)[kind]
    pull_half(hub, store, source)
    hub.faults[REPO, FILE] = Fault(ignores_range=True)
    assert store.fetch(slot(source)).main.read_bytes() == CONTENT
    assert hub.bytes_served(REPO, FILE) == HALF + SIZE


@every_source
def test_a_beginning_that_is_too_long(hub: Hub, store: ModelStore, kind: str) -> None:
    source = sources(hub)[kind]
    partial = pull_half(hub, store, source)
    partial.path.write_bytes(b"x" * (SIZE + 1))
    assert store.fetch(slot(source)).main.read_bytes() == CONTENT


@every_source
def test_a_whole_file_that_was_not_yet_named(hub: Hub, store: ModelStore, kind: str) -> None:
    source = sources(hub)[kind]
    partial = pull_half(hub, store, source)
    partial.path.write_bytes(CONTENT)
    assert store.fetch(slot(source)).main.read_bytes() == CONTENT
    assert hub.bytes_served(REPO, FILE) == HALF


def test_a_whole_file_of_unknown_size(hub: Hub, store: ModelStore) -> None:
    source = sources(hub)["url with sha256"]
    partial = pull_half(hub, store, source)
    partial.path.write_bytes(CONTENT)
    partial.write_record(Record(source))
    assert store.fetch(slot(source)).main.read_bytes() == CONTENT
    assert hub.bytes_served(REPO, FILE) == HALF


def test_a_file_that_has_changed_meanwhile(hub: Hub, store: ModelStore) -> None:
    source = sources(hub)["url"]
    partial = pull_half(hub, store, source)
    partial.path.write_bytes(b"x" * HALF)
    partial.write_record(Record(source, SIZE - 1, '"older"'))
    assert store.fetch(slot(source)).main.read_bytes() == CONTENT


def test_a_beginning_without_a_proof(hub: Hub, store: ModelStore) -> None:
    source = sources(hub)["url"]
    partial = pull_half(hub, store, source)
    partial.record_path.unlink()
    assert store.fetch(slot(source)).main.read_bytes() == CONTENT
    assert ranges(hub) == [None, None]


def test_a_spoiled_beginning_is_found_and_removed(hub: Hub, store: ModelStore) -> None:
    partial = pull_half(hub, store, SOURCE)
    partial.path.write_bytes(b"x" * HALF)
    with pytest.raises(ModelUnavailable, match="removed") as refused:
        store.fetch(slot(SOURCE))
    assert refused.value.code == "checksum_mismatch"
    assert partial_of(store).size == 0
    assert store.fetch(slot(SOURCE)).main.read_bytes() == CONTENT


def test_a_cut_connection_goes_on_at_once(hub: Hub, store: ModelStore) -> None:
    hub.faults[REPO, FILE] = Fault(cut_after=SIZE // 4)
    assert store.fetch(slot(SOURCE)).main.read_bytes() == CONTENT
    assert hub.bytes_served(REPO, FILE) == SIZE


def test_a_server_that_cuts_again_and_again(hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults[REPO, FILE] = Fault(cut_after=SIZE // 10)
    with pytest.raises(ModelUnavailable, match="broke off") as refused:
        store.fetch(slot(SOURCE))
    assert refused.value.code == "hub_unreachable"
    monkeypatch.setattr("serve_app.models.patience.RENEWING_BYTES", SIZE // 20)
    assert store.fetch(slot(SOURCE)).main.read_bytes() == CONTENT
    assert hub.bytes_served(REPO, FILE) == SIZE


@every_source
def test_a_server_that_stalls(hub: Hub, store: ModelStore, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch, read_timeout_s=0.2)
    hub.faults[REPO, FILE] = Fault(stall_after=0)
    with pytest.raises(ModelUnavailable) as refused:
        store.fetch(slot(sources(hub)[kind]))
    assert refused.value.code == "pull_timeout"
    assert hub.downloads(REPO, FILE) == 3


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(stall_after=1000)])
def test_cancelling_ends_any_wait(hub: Hub, store: ModelStore, fault: Fault) -> None:
    hub.faults[REPO, FILE] = fault
    cancelled = threading.Event()
    timer = threading.Timer(0.3, cancelled.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(PullCancelled):
        store.fetch(slot(SOURCE), None, cancelled)
    assert time.monotonic() - began < DEADLINE_S / 4
    timer.join()


def test_many_ask_and_one_pulls(hub: Hub, store: ModelStore) -> None:
    hub.faults[REPO, FILE] = Fault(bytes_per_second=1_000_000)
    seen: list[list[PullProgress]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=store.fetch, args=(slot(SOURCE), one.append)) for one in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert hub.downloads(REPO, FILE) == 1
    for one in seen:
        assert (one[-1].bytes_done, one[-1].bytes_total) == (SIZE, SIZE)
        assert any(0 < step.bytes_done < SIZE for step in one)


def test_two_processes_share_one_download(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    hub.faults[REPO, FILE] = Fault(bytes_per_second=2_000_000)
    env = hub_env(hub.url, tmp_path / "cache")
    pulls = [
        subprocess.Popen(pull_command(store.folder, SOURCE), env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {pull.communicate(timeout=60)[0].strip() for pull in pulls}
    assert len(paths) == 1 and Path(paths.pop()).read_bytes() == CONTENT
    assert hub.downloads(REPO, FILE) == 1


def test_who_waits_takes_over_and_can_be_cancelled(hub: Hub, store: ModelStore) -> None:
    hub.faults[REPO, FILE] = Fault(stall_after=HALF, times=1)
    first, second = threading.Event(), threading.Event()
    results: list[object] = []

    def pull(cancelled: threading.Event) -> None:
        try:
            results.append(store.fetch(slot(SOURCE), None, cancelled).main)
        except PullCancelled as error:
            results.append(error)

    threads = [threading.Thread(target=pull, args=(one,)) for one in (first, second, threading.Event())]
    threads[0].start()
    until(lambda: partial_of(store).size == HALF)
    for thread in threads[1:]:
        thread.start()
    second.set()
    threads[1].join(DEADLINE_S)
    first.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert [isinstance(one, PullCancelled) for one in results] == [True, True, False]
    assert hub.bytes_served(REPO, FILE) == SIZE


def test_a_disk_without_room_is_told_before(hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    free = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    for source in sources(hub).values():
        with pytest.raises(ModelUnavailable, match=r"1000\.0 KiB.*1000 B") as refused:
            store.fetch(slot(source))
        assert refused.value.code == "disk_full"
    assert hub.downloads(REPO, FILE) == 2


def test_a_disk_that_gets_full(hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ModelUnavailable, match="removed") as refused:
        store.fetch(slot(SOURCE))
    assert refused.value.code == "disk_full"
    assert partial_of(store).size == 0


def test_a_real_small_disk(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "hal0-test", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root and the kernel's leave")
    try:
        for in_the_middle in (False, True):
            with pytest.raises(ModelUnavailable) as refused:
                ModelStore(disk).fetch(slot(sources(hub)["url"]))
            assert refused.value.code == "disk_full"
            assert ("removed" in refused.value.message) == in_the_middle
            assert list(disk.rglob("*.part*")) == []
            monkeypatch.setattr("serve_app.models.transfer.require_space", lambda *_: None)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelUnavailable) as refused:
        ModelStore(tmp_path / "file").fetch(slot(sources(hub)["url"]))
    assert refused.value.code == "store_unwritable"
