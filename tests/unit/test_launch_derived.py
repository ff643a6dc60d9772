"""What Serve is given in place of the user's file."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.config import ConfigFile, load_config_file
from serve_app.launch.derived import derive, has_runtime_env
from serve_app.listen_options import KNOWN_OPTIONS

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "configs" / "hal0.yaml"


def given(folder: Path, **changes: Any) -> ConfigFile:
    document = yaml.safe_load(SHIPPED.read_text()) | changes
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in document.items() if value is not None}))
    return load_config_file(path)


def test_serve_reads_the_same_slots_and_runs_no_proxies(tmp_path: Path) -> None:
    original = load_config_file(SHIPPED)
    derived = derive(original, {})
    derived.write(tmp_path / "deep" / "derived.yaml")
    text = (tmp_path / "deep" / "derived.yaml").read_text()
    document = yaml.safe_load(text)
    assert derived.proxied is None
    assert document["proxy_location"] == "Disabled"
    assert "&" not in text and "*" not in text
    assert document["applications"] == original.document["applications"]
    read = load_config_file(tmp_path / "deep" / "derived.yaml")
    assert (read.serving, read.host, read.port) == (original.serving, original.host, original.port)


def test_it_listens_where_the_launcher_thinks(tmp_path: Path) -> None:
    """Serve alone would take every interface."""
    document = derive(given(tmp_path, http_options=None), {}).document
    assert document["http_options"] == {"host": "127.0.0.1", "port": 8000}


@pytest.mark.parametrize("where", ["HeadOnly", "EveryNode"])
def test_who_names_the_place_of_proxies_has_them_there(tmp_path: Path, where: str) -> None:
    derived = derive(given(tmp_path, proxy_location=where), {})
    assert derived.document["proxy_location"] == where
    assert derived.proxied == f"proxy_location: {where}"


def test_none_may_be_named_as_well(tmp_path: Path) -> None:
    derived = derive(given(tmp_path, proxy_location="Disabled"), {"RAY_SERVE_ENABLE_HA_PROXY": "1"})
    assert (derived.document["proxy_location"], derived.proxied) == ("Disabled", None)


@pytest.mark.parametrize(("switch", "proxied"), [("1", "RAY_SERVE_ENABLE_HA_PROXY=1"), ("0", None)])
def test_haproxy_is_a_proxy(tmp_path: Path, switch: str, proxied: str | None) -> None:
    derived = derive(given(tmp_path), {"RAY_SERVE_ENABLE_HA_PROXY": switch})
    assert derived.proxied == proxied
    assert ("proxy_location" in derived.document) is (proxied is None)


def test_a_ray_that_runs_already_may_have_other_machines(tmp_path: Path) -> None:
    derived = derive(given(tmp_path), {}, joins=True)
    assert derived.proxied == "the Ray that runs already"
    assert "proxy_location" not in derived.document


def test_who_wants_no_proxies_on_other_machines_gets_none(tmp_path: Path) -> None:
    derived = derive(given(tmp_path, proxy_location="Disabled"), {}, joins=True)
    assert derived.proxied is None
    assert derived.document["proxy_location"] == "Disabled"


def test_a_key_that_the_listener_does_not_know_keeps_the_proxy(tmp_path: Path) -> None:
    http = {"host": "127.0.0.1", "port": 1, "root_path": "/x"}
    derived = derive(given(tmp_path, http_options=http), {})
    assert derived.proxied == "http_options.root_path"
    assert "proxy_location" not in derived.document and derived.document["http_options"] == http


def test_the_keys_that_it_knows_do_not(tmp_path: Path) -> None:
    http = {"host": "127.0.0.1", "port": 1, "keep_alive_timeout_s": 9}
    http |= {key: "x" for key in KNOWN_OPTIONS if key.startswith("ssl_")}
    file = given(tmp_path, http_options=http)
    assert file.secure
    assert derive(file, {}).proxied is None


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"applications": [{"args": {"slots": []}}]}, False),
        ({"applications": [{"runtime_env": {}}]}, False),
        ({"applications": [{"runtime_env": {"pip": ["x"]}}]}, True),
        ({"applications": [{"deployments": [{"ray_actor_options": {"runtime_env": {"pip": ["x"]}}}]}]}, True),
    ],
)
def test_what_wants_an_environment_of_its_own_is_found(document: Any, expected: bool) -> None:
    assert has_runtime_env(document) is expected
