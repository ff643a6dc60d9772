"""What `hal0 up` checks before it starts anything."""

import socket

import pytest

from serve_app.config import ConfigError
from serve_app.launcher import require_free_port, url_of


def test_a_taken_port_is_refused_and_a_free_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"http_options\.port: {port} on 127\.0\.0\.1.*in use.*free port"):
            require_free_port("127.0.0.1", port)
    require_free_port("127.0.0.1", port)


def test_a_foreign_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 cannot be used"):
        require_free_port("192.0.2.1", 8080)


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
