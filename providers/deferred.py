"""Libraries that an engine's library imports, and that no slot ever uses."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def deferring(name: str) -> Iterator[None]:
    """What is imported meanwhile gets a stand-in where it says `import name`: the library itself is imported when
    something of it is used. No effect if it has been imported already."""
    if name in sys.modules:
        yield
        return
    stand_in = sys.modules[name] = _Deferred(name)
    try:
        yield
    finally:
        stand_in.leave()


class _Deferred(ModuleType):
    def __getattr__(self, name: str) -> Any:
        self.leave()
        return getattr(importlib.import_module(self.__name__), name)

    def leave(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
