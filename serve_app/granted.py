"""The first item of a lease."""

from dataclasses import dataclass

from providers.base import Endpoint


@dataclass(frozen=True, slots=True)
class Granted:
    """Where to send requests, and how many at once."""

    replica: str
    endpoint: Endpoint
    capacity: int
