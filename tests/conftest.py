"""Fixtures that several kinds of tests share."""

from collections.abc import Iterator

import pytest

from tests.support.server import ServerPark, park


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerPark]:
    """Whole servers, one at a time; the last one is stopped at the end of the session."""
    yield from park(tmp_path_factory.mktemp("servers"))
