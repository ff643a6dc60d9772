"""Fixtures that several kinds of tests share."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.server import ServerPark, park

# How long an example takes says something of the machine, and nothing of what is tested.
settings.register_profile("hal0", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hal0")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerPark]:
    """Whole servers, one at a time; the last one is stopped at the end of the session."""
    yield from park(tmp_path_factory.mktemp("servers"))
