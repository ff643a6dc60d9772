"""API keys, and the rule that nothing listens openly without them."""

import hmac
import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from serve_app.config import LOOPBACK, ConfigError, ServingConfig
from serve_app.errors import BadRequest
from serve_app.settings import Settings

THIS_MACHINE_ONLY = "This server has no API keys and answers only its own machine. Set HAL0_API_KEYS there to open it."

FOREIGN_PAGE = "This server has no API keys and answers no pages of other machines. Set HAL0_API_KEYS there to open it."

OPEN_PATHS = frozenset({"/health", "/v1/health"})
KEY_SUBPROTOCOL = "openai-insecure-api-key."
"""A page in a browser can set no headers of a WebSocket: OpenAI's clients offer their key as a subprotocol."""


class Keys:
    """The keys that clients may use; none: everybody may. Never shown, not even by `repr`."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def __repr__(self) -> str:
        return f"Keys({len(self._keys)} masked)"

    def __bool__(self) -> bool:
        return bool(self._keys)

    def one(self) -> str | None:
        """One of them, for this program to ask its own server with; None if there is none."""
        return self._keys[0].decode() if self._keys else None

    def check(self, path: str, headers: Headers, subprotocols: Sequence[str] = ()) -> None:
        """Raises 401 unless the request carries a key, as OpenAI's clients send it or as Anthropic's do.

        `subprotocols` are those that a WebSocket offers.
        """
        if not self._keys or path in OPEN_PATHS:
            return
        given = _given_key(headers) or _offered_key(subprotocols)
        if given is None:
            raise BadRequest(
                401, "No API key: send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.", "no_api_key"
            )
        # Every key is compared, so that the time taken does not tell which one came close.
        if not any([hmac.compare_digest(given, key) for key in self._keys]):
            raise BadRequest(401, "The API key is not one of this server's keys.", "invalid_api_key")


def _given_key(headers: Headers) -> bytes | None:
    """As it was sent: Starlette has decoded it as Latin-1."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip().encode("latin-1")
    key = headers.get("x-api-key")
    return key.encode("latin-1") if key else None


def _offered_key(subprotocols: Sequence[str]) -> bytes | None:
    for offered in subprotocols:
        if offered.startswith(KEY_SUBPROTOCOL):
            return offered.removeprefix(KEY_SUBPROTOCOL).encode("latin-1", "replace") or None
    return None


class Door:
    """Who may come in without a key: on a server without keys only its own machine, unless it is open to all.

    Serve's HAProxy mode opens the ingress replica's own port on every interface, whatever `http_options.host` says.
    """

    def __init__(self, keys: Keys, allow_open: bool, own_addresses: frozenset[str]) -> None:
        self._closed = not keys and not allow_open
        self._own_addresses = own_addresses

    def check(self, client: tuple[str, int] | None) -> None:
        """Raises 403 for an address that is not this machine's. `client` is ASGI's; None: not known, so not let in."""
        if not self._closed:
            return
        if client is None or not (client[0] in self._own_addresses or is_loopback(client[0])):
            raise BadRequest(403, THIS_MACHINE_ONLY, "this_machine_only")

    def check_page(self, origin: str | None) -> None:
        """Raises 403 for a WebSocket that a page of another machine opens from a browser on this one: browsers ask
        nobody before they do. `origin` is the header; None: no browser."""
        if not self._closed or origin is None:
            return
        host = _host_of(origin)
        if not (host == "localhost" or host in self._own_addresses or is_loopback(host)):
            raise BadRequest(403, FOREIGN_PAGE, "this_machine_only")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


@lru_cache(maxsize=1024)
def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def load_keys(config: ServingConfig, settings: Settings) -> Keys:
    """From HAL0_API_KEYS and `ingress.api_keys_file`. Raises `ConfigError` for a file that cannot be used."""
    keys = list(settings.api_keys)
    if config.ingress.api_keys_file is not None:
        keys += _keys_in(config.ingress.api_keys_file.expanduser())
    return Keys(tuple(keys))


def _keys_in(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError((f"ingress.api_keys_file: {file} cannot be read: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise ConfigError((f"ingress.api_keys_file: {file} is not UTF-8 text; allowed: one key a line",)) from error
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise ConfigError((f"ingress.api_keys_file: {file} holds no key; allowed: one key a line",))
    return keys


def require_closed(host: str, keys: Keys, allow_open: bool) -> None:
    """Raises `ConfigError` if the server would answer strangers without a key."""
    if host in LOOPBACK or keys or allow_open:
        return
    raise ConfigError(
        (
            f"http_options.host: '{host}' listens beyond this machine without API keys; "
            f"allowed: {', '.join(LOOPBACK)}, or keys in HAL0_API_KEYS or ingress.api_keys_file, "
            "or ingress.allow_open: true",
        )
    )
