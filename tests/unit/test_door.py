"""A server without keys answers its own machine only."""

import pytest

from serve_app.errors import BadRequest
from serve_app.security import Door, Keys

OWN = frozenset({"192.0.2.7"})
OUTSIDE = ("192.0.2.9", 4000)


@pytest.mark.parametrize("client", [("127.0.0.1", 1), ("127.9.9.9", 1), ("::1", 1), ("192.0.2.7", 1)])
def test_its_own_machine_comes_in(client: tuple[str, int]) -> None:
    Door(Keys(()), False, OWN).check(client)


@pytest.mark.parametrize("client", [OUTSIDE, ("2001:db8::1", 1), ("", 0), ("localhost.example", 1), None])
def test_others_do_not(client: tuple[str, int] | None) -> None:
    with pytest.raises(BadRequest) as refused:
        Door(Keys(()), False, OWN).check(client)
    assert refused.value.status == 403 and "HAL0_API_KEYS" in str(refused.value)


def test_with_keys_or_open_to_all_everybody_comes_to_the_door() -> None:
    Door(Keys(("key",)), False, OWN).check(OUTSIDE)
    Door(Keys(()), True, OWN).check(OUTSIDE)
