"""The stand-in Hub against the real client."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.support.hub import Fault, Hub

REPO, PRIVATE = "acme/models", "acme/secret"
CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    big, small = tmp_path / "big.gguf", tmp_path / "small.json"
    big.write_bytes(CONTENT)
    small.write_text("{}")
    files = {"big.gguf": big, "sub/small.json": small}
    with Hub({REPO: files, PRIVATE: files}, tokens={PRIVATE: "hf_right"}) as running:
        yield running


def download(hub: Hub, cache: Path, repo: str = REPO, file: str = "big.gguf", **options: str | bool) -> Path:
    options.setdefault("token", False)
    return Path(hf_hub_download(repo, file, cache_dir=cache, endpoint=hub.url, **options))  # type: ignore[call-overload]


def test_downloads_a_file_into_the_cache(hub: Hub, tmp_path: Path) -> None:
    path = download(hub, tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert hub.commit(REPO) in path.parts
    assert hub.bytes_served(REPO, "big.gguf") == len(CONTENT)


def test_a_cached_file_is_not_sent_again(hub: Hub, tmp_path: Path) -> None:
    first = download(hub, tmp_path / "cache")
    assert download(hub, tmp_path / "cache", revision=hub.commit(REPO)) == first
    assert download(hub, tmp_path / "cache") == first
    assert hub.downloads(REPO, "big.gguf") == 1


def test_downloads_a_snapshot(hub: Hub, tmp_path: Path) -> None:
    folder = Path(snapshot_download(REPO, cache_dir=tmp_path / "cache", endpoint=hub.url, token=False))
    assert (folder / "big.gguf").read_bytes() == CONTENT
    assert (folder / "sub" / "small.json").read_text() == "{}"


def test_is_found_through_the_environment(hub: Hub, tmp_path: Path) -> None:
    code = "import huggingface_hub as h; print(h.hf_hub_download('acme/models', 'big.gguf'))"
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert Path(answer.stdout.strip()).read_bytes() == CONTENT


def test_a_cut_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client keeps only whole chunks of a cut download, by default of 10 MiB.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.faults[REPO, "big.gguf"] = Fault(cut_after=200_000, times=1)
    assert download(hub, tmp_path / "cache").read_bytes() == CONTENT
    ranges = [asked for method, _, asked in hub.requests if method == "GET"]
    assert ranges == [None, "bytes=200000-"]
    assert hub.bytes_served(REPO, "big.gguf") == len(CONTENT)


def test_every_request_may_be_cut(hub: Hub) -> None:
    hub.faults[REPO, "big.gguf"] = Fault(cut_after=1000)
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{hub.url}/{REPO}/resolve/main/big.gguf")
    assert hub.bytes_served(REPO, "big.gguf") == 2000


@pytest.mark.parametrize(("status", "error"), [(401, HfHubHTTPError), (404, RemoteEntryNotFoundError)])
def test_a_status_strikes_the_client(hub: Hub, tmp_path: Path, status: int, error: type[Exception]) -> None:
    hub.faults[REPO, "big.gguf"] = Fault(status=status)
    with pytest.raises(error):
        download(hub, tmp_path / "cache")
    assert hub.downloads(REPO, "big.gguf") == 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_passing_status_is_over_after_its_times(hub: Hub, status: int) -> None:
    hub.faults[REPO, "big.gguf"] = Fault(status=status, retry_after_s=7, times=1)
    answers = [httpx.head(f"{hub.url}/{REPO}/resolve/main/big.gguf") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status, 200]
    assert answers[0].headers["Retry-After"] == "7"


def test_what_is_missing_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(RemoteEntryNotFoundError):
        download(hub, tmp_path / "cache", file="absent.gguf")
    with pytest.raises(RevisionNotFoundError):
        download(hub, tmp_path / "cache", revision="v9")
    with pytest.raises(RepositoryNotFoundError):
        download(hub, tmp_path / "cache", repo="acme/absent")
    with pytest.raises(RepositoryNotFoundError):
        download(hub, tmp_path / "cache", repo="acme/absent", token="hf_any")


def test_a_repo_may_demand_a_token(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(GatedRepoError):
        download(hub, tmp_path / "cache", repo=PRIVATE)
    with pytest.raises(HfHubHTTPError, match="401"):
        download(hub, tmp_path / "cache", repo=PRIVATE, token="hf_wrong")
    assert download(hub, tmp_path / "cache", repo=PRIVATE, token="hf_right").read_bytes() == CONTENT


def test_wrong_bytes_are_as_many_as_the_right_ones(hub: Hub) -> None:
    hub.faults[REPO, "big.gguf"] = Fault(corrupt=True)
    body = httpx.get(f"{hub.url}/{REPO}/resolve/main/big.gguf").content
    assert len(body) == len(CONTENT)
    assert body != CONTENT


def test_a_part_is_refused_when_the_file_is_another_or_the_hub_knows_no_parts(hub: Hub) -> None:
    url, part = f"{hub.url}/{REPO}/resolve/main/big.gguf", {"Range": "bytes=10-19"}
    etag = httpx.head(url).headers["ETag"]
    assert httpx.get(url, headers=part | {"If-Range": etag}).status_code == 206
    assert httpx.get(url, headers=part | {"If-Range": '"older"'}).content == CONTENT
    hub.faults[REPO, "big.gguf"] = Fault(ignores_range=True)
    assert httpx.get(url, headers=part).content == CONTENT


def test_a_slow_file_takes_its_time(hub: Hub) -> None:
    hub.faults[REPO, "big.gguf"] = Fault(bytes_per_second=1_000_000)
    began = time.monotonic()
    assert httpx.get(f"{hub.url}/{REPO}/resolve/main/big.gguf").content == CONTENT
    assert time.monotonic() - began > 0.8 * len(CONTENT) / 1_000_000


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(stall_after=1000)])
def test_a_hanging_file_answers_no_more(hub: Hub, fault: Fault) -> None:
    hub.faults[REPO, "big.gguf"] = fault
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{hub.url}/{REPO}/resolve/main/big.gguf", timeout=0.3)


def test_closing_ends_hanging_requests(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    with Hub({REPO: {"file": file}}) as hub, httpx.Client() as client:
        hub.faults[REPO, "file"] = Fault(hang=True)
        client.get(f"{hub.url}/nothing/here")
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"{hub.url}/{REPO}/resolve/main/file", timeout=0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 2


def test_serves_a_part_of_a_file(hub: Hub) -> None:
    url = f"{hub.url}/{REPO}/resolve/main/big.gguf"
    middle = httpx.get(url, headers={"Range": "bytes=10-19"})
    beyond = httpx.get(url, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (middle.status_code, middle.content) == (206, CONTENT[10:20])
    assert middle.headers["Content-Range"] == f"bytes 10-19/{len(CONTENT)}"
    assert beyond.status_code == 416
