"""Checks that are told one by one, as they are made."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

import aiohttp

from providers.errors import ProviderError
from providers.pulling import ModelUnavailable
from serve_app.dispatch import NotBegun
from serve_app.errors import ServingError

MEANWHILE_S = 5.0


class Failed(Exception):
    """A check did not pass; the message says why and what to do."""


class Verdict(StrEnum):
    OK = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    verdict: Verdict
    detail: str
    seconds: float | None = None

    def line(self) -> str:
        took = "" if self.seconds is None else f" ({self.seconds:.1f} s)"
        return f"{self.verdict.value:8}{self.name:14}{self.detail}{took}"


@dataclass(slots=True)
class Checklist:
    show: Callable[[str], None]
    made: list[Check] = field(default_factory=list)
    _told: tuple[str, float] = ("", 0.0)

    @property
    def passed(self) -> bool:
        """Whether every check was made, and none failed."""
        return bool(self.made) and all(one.verdict is Verdict.OK for one in self.made)

    async def check(self, name: str, work: Callable[[], Awaitable[str]], limit_s: float) -> bool:
        """`work` answers what there is to tell, or raises what is wrong. False if it did not pass."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                verdict, detail = Verdict.OK, await work()
        except Exception as error:
            verdict, detail = Verdict.FAILED, reason(error, limit_s)
        self._add(Check(name, verdict, detail, time.monotonic() - began))
        return verdict is Verdict.OK

    def meanwhile(self, topic: str, line: str) -> None:
        """What goes on during a check: a new topic at once, more on the same now and then."""
        topic_before, told_at = self._told
        if topic != topic_before or time.monotonic() - told_at >= MEANWHILE_S:
            self._told = (topic, time.monotonic())
            self.show(f"{'':8}{line}")

    def skip(self, name: str, why: str) -> None:
        self._add(Check(name, Verdict.SKIPPED, why))

    def _add(self, check: Check) -> None:
        self.made.append(check)
        self.show(check.line())


def reason(error: Exception, limit_s: float) -> str:
    """For users, who know no names of exceptions."""
    match error:
        case TimeoutError():
            return f"no answer within {limit_s:g} s"
        case aiohttp.ClientError():
            return f"the connection broke: {error}"
        case NotBegun():
            return "the engine went away before it answered"
        case Failed() | ProviderError() | ServingError() | ModelUnavailable():
            return str(error)
        case LookupError() | TypeError() | ValueError() | AttributeError():
            return f"an answer is not of the form that is expected: {error}"
        case _:
            return f"unforeseen: {str(error) or 'without a word'}"
