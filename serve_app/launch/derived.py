"""The configuration that Serve is given: the user's own, and Serve without its proxies where ours will do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from serve_app.config import ConfigFile
from serve_app.listen_options import KNOWN_OPTIONS

PROXIES = "proxy_location"
OFF = "Disabled"
HAPROXY = "RAY_SERVE_ENABLE_HA_PROXY"


class Plain(yaml.SafeDumper):
    """Without anchors: what they stood for is written out."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Derived:
    """`document` is a Serve config; `proxied` says why Serve's proxy stays in front, None where it does not."""

    document: Mapping[str, Any]
    proxied: str | None

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.dump(dict(self.document), Dumper=Plain, sort_keys=False, allow_unicode=True), "utf-8")


def derive(file: ConfigFile, environ: Mapping[str, str], joins: bool = False) -> Derived:
    """`joins`: a Ray that runs already, which may place the ingress on another machine; proxies are on every one.

    Paths in it keep their meaning: they are relative to the current folder or to HAL0_HOME, never to the
    file.
    """
    why = _needs_a_proxy(file.document, environ)
    if joins and PROXIES not in file.document:
        why = why or "the Ray that runs already"
    # Serve's own default for the host is every interface.
    http = {**(file.document.get("http_options") or {}), "host": file.host, "port": file.port}
    return Derived({**({} if why else {PROXIES: OFF}), **file.document, "http_options": http}, why)


def has_runtime_env(part: Any) -> bool:
    """Whether an application or a deployment in this part of a Serve config wants an environment of its own."""
    match part:
        case Mapping():
            return bool(part.get("runtime_env")) or any(map(has_runtime_env, part.values()))
        case list():
            return any(map(has_runtime_env, part))
        case _:
            return False


def _needs_a_proxy(document: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    if (named := document.get(PROXIES)) is not None:
        return None if named == OFF else f"{PROXIES}: {named}"
    if environ.get(HAPROXY) == "1":
        return f"{HAPROXY}=1"
    unknown = [key for key in document.get("http_options") or {} if key not in KNOWN_OPTIONS]
    return f"http_options.{unknown[0]}" if unknown else None
