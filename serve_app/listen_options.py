"""What the ingress's own HTTP server heeds of Serve's `http_options`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KNOWN_OPTIONS = frozenset(
    {"host", "port", "keep_alive_timeout_s", "ssl_keyfile", "ssl_certfile", "ssl_keyfile_password", "ssl_ca_certs"}
)
"""By Serve's names."""


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Serve's `http_options`, by Serve's names."""

    host: str
    port: int
    keep_alive_timeout_s: float
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile_password: str | None = None
    ssl_ca_certs: str | None = None

    @classmethod
    def of(cls, http_options: Mapping[str, Any]) -> "ListenOptions":
        return cls(**{name: value for name, value in http_options.items() if name in KNOWN_OPTIONS})
