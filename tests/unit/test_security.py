"""Who may come in with which key, and what is never shown."""

from pathlib import Path

import pytest
from starlette.datastructures import Headers

from serve_app.config import ConfigError, IngressConfig, ServingConfig
from serve_app.errors import BadRequest
from serve_app.security import Door, Keys, load_keys, require_closed
from serve_app.settings import Settings

KEYS = Keys(("first-key", "ключ"))
WRONG = [{"x-api-key": "first"}, {"x-api-key": "first-key2"}, {"authorization": "Bearer FIRST-KEY"}]
NONE = [{}, {"authorization": "first-key"}, {"authorization": "Basic first-key"}, {"authorization": "Bearer "}]


def config(api_keys_file: Path | None = None) -> ServingConfig:
    return ServingConfig(ingress=IngressConfig(api_keys_file=api_keys_file), slots=())


def settings(*keys: str) -> Settings:
    return Settings(Path("/nowhere"), keys)


def refusal(headers: dict[str, str], path: str = "/v1/models") -> BadRequest:
    with pytest.raises(BadRequest) as refused:
        KEYS.check(path, Headers(headers))
    return refused.value


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer first-key"},
        {"authorization": "bearer  first-key "},
        {"x-api-key": "first-key"},
        {"authorization": "Basic other", "x-api-key": "first-key"},
    ],
    ids=str,
)
def test_a_key_is_taken_as_either_kind_of_client_sends_it(headers: dict[str, str]) -> None:
    KEYS.check("/v1/models", Headers(headers))


def test_a_key_need_not_be_ascii() -> None:
    KEYS.check("/v1/models", Headers(raw=[(b"x-api-key", "ключ".encode())]))


@pytest.mark.parametrize("headers", WRONG, ids=str)
def test_a_wrong_key_is_refused_and_not_shown(headers: dict[str, str]) -> None:
    error = refusal(headers)
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert all(value not in str(error) for value in headers.values())


@pytest.mark.parametrize("headers", NONE, ids=str)
def test_no_key_is_refused(headers: dict[str, str]) -> None:
    error = refusal(headers)
    assert (error.status, error.code) == (401, "no_api_key")


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
def test_health_needs_no_key(path: str) -> None:
    KEYS.check(path, Headers({}))


@pytest.mark.parametrize("path", ["/health/", "/healthy", "/", "/api/slots"])
def test_everything_else_does(path: str) -> None:
    assert refusal({}, path).status == 401


def test_a_page_in_a_browser_offers_its_key_as_a_subprotocol() -> None:
    KEYS.check("/v1/realtime", Headers({}), ["realtime", "openai-insecure-api-key.first-key"])
    KEYS.check("/v1/realtime", Headers({"x-api-key": "first-key"}), ["openai-insecure-api-key.other"])
    for offered, code in [
        (["realtime"], "no_api_key"),
        (["openai-insecure-api-key."], "no_api_key"),
        (["openai-insecure-api-key.first"], "invalid_api_key"),
        (["first-key"], "no_api_key"),
        (["openai-insecure-api-key.ключ"], "invalid_api_key"),
    ]:
        with pytest.raises(BadRequest) as refused:
            KEYS.check("/v1/realtime", Headers({}), offered)
        assert refused.value.code == code


OURS = ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443", "http://192.0.2.7:8080"]
FOREIGN = ["https://evil.example", "null", "", "http://localhost.evil.example", "http://[::1", "file://"]


@pytest.mark.parametrize("origin", OURS)
def test_pages_of_this_machine_may_open_sessions(origin: str) -> None:
    Door(Keys(()), False, frozenset({"192.0.2.7"})).check_page(origin)


@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_of_others_may_not_unless_they_have_a_key(origin: str) -> None:
    with pytest.raises(BadRequest) as refused:
        Door(Keys(()), False, frozenset()).check_page(origin)
    assert refused.value.status == 403
    Door(KEYS, False, frozenset()).check_page(origin)
    Door(Keys(()), True, frozenset()).check_page(origin)


def test_programs_are_no_pages() -> None:
    Door(Keys(()), False, frozenset()).check_page(None)


def test_without_keys_everybody_may() -> None:
    Keys(()).check("/v1/models", Headers({}))
    assert not Keys(())
    assert KEYS


def test_keys_are_not_shown() -> None:
    for shown in (repr(KEYS), str(KEYS), f"{KEYS}"):
        assert "first-key" not in shown
    assert repr(KEYS) == "Keys(2 masked)"


def test_keys_come_from_the_environment_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\n\n  one \n#two\nthree\n")
    keys = load_keys(config(file), settings("zero"))
    for key in ("zero", "one", "three"):
        keys.check("/", Headers({"x-api-key": key}))
    assert repr(keys) == "Keys(3 masked)"


def test_without_a_file_there_may_be_none() -> None:
    assert not load_keys(config(), settings())


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", "holds no key"), (b"# a\n \n", "holds no key"), (b"\xff\xfe", "UTF-8")]
)
def test_a_file_without_keys_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"ingress\.api_keys_file: .*{expected}"):
        load_keys(config(file), settings("zero"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_keys(config(tmp_path / "absent"), settings())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_may_be_open(host: str) -> None:
    require_closed(host, Keys(()), allow_open=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])
def test_beyond_loopback_needs_keys_or_the_owners_word(host: str) -> None:
    with pytest.raises(ConfigError, match=r"http_options\.host.*HAL0_API_KEYS.*allow_open"):
        require_closed(host, Keys(()), allow_open=False)
    require_closed(host, KEYS, allow_open=False)
    require_closed(host, Keys(()), allow_open=True)
