import sys
from collections.abc import Iterator
from typing import NoReturn

import pytest


def refuse(*_args: object, **_kwargs: object) -> NoReturn:
    pytest.fail("a unit test must not start Ray")


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Importing Ray costs seconds, which a test that has no use for it should not pay.
    if "ray" in sys.modules:
        monkeypatch.setattr("ray.init", refuse)
        monkeypatch.setattr("ray._private.worker.connect", refuse)
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
        refuse()
