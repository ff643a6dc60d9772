"""What `hal0 up` checks before it starts anything."""

import os
import socket
from pathlib import Path

import pytest

from serve_app.config import ConfigError
from serve_app.launch.local_server import url_of
from serve_app.launch.processes import Process
from serve_app.launch.record import RunFolder, UpRecord
from serve_app.launcher import joins_a_cluster, require_free_port


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_a_taken_port_is_refused_and_a_free_one_is_not(folder: RunFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"http_options\.port: {port} on 127\.0\.0\.1.*in use.*free port"):
            require_free_port("127.0.0.1", port, folder)
    require_free_port("127.0.0.1", port, folder)


def test_a_foreign_address_is_refused(folder: RunFolder) -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 cannot be used"):
        require_free_port("192.0.2.1", 8080, folder)


def test_a_hal0_that_runs_there_is_named(folder: RunFolder) -> None:
    here = Process.of(os.getpid())
    assert here is not None
    folder.claim(UpRecord("abc", here, 0.0, 8080, "http://127.0.0.1:8080", "/etc/hal0.yaml"))
    with pytest.raises(ConfigError, match=rf"pid {os.getpid()}, /etc/hal0.yaml\); `hal0 down --port 8080` stops it"):
        require_free_port("127.0.0.1", 8080, folder)


def test_a_cluster_is_joined_where_one_is_named_or_answers(tmp_path: Path) -> None:
    """A killed Ray leaves its address behind."""
    current = tmp_path / "ray_current_cluster"
    assert not joins_a_cluster({}, current)
    assert joins_a_cluster({"RAY_ADDRESS": "auto"}, current)
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        current.write_text(f"127.0.0.1:{cluster.getsockname()[1]}")
        assert joins_a_cluster({}, current)
    assert not joins_a_cluster({}, current)
    current.write_text("nonsense")
    assert not joins_a_cluster({}, current)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("example.org", "http://example.org:80"),
    ],
)
def test_the_address_that_is_told_can_be_opened(host: str, expected: str) -> None:
    assert url_of(host, 80) == expected
    assert url_of(host, 80, secure=True) == expected.replace("http:", "https:")
