"""What a slot claims and is likely to need, in figures and in words. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from providers.base import MemoryNeeds
from providers.devices import Device
from providers.spec import SlotSpec
from serve_app.placement import GIB, Claim

OWN_KEYS = {"CPU": "cpu", "GPU": "gpu", "memory": "memory_gib"}
"""The keys of `resources` for what Ray names itself; other resources stand under `custom` by their own names."""


@dataclass(frozen=True, slots=True)
class Want:
    """Of one replica. `needs` is None where nobody knows."""

    slot: SlotSpec
    device: Device
    claim: Claim
    needs: MemoryNeeds | None = None


def key_of(resource: str) -> str:
    """Under a slot's `resources`."""
    return OWN_KEYS.get(resource, f"custom.{resource}")


def amount_of(resource: str, amount: float) -> str:
    """In the unit of its key."""
    return f"{amount / GIB:.4g}" if resource == "memory" else f"{amount:g}"


def listed(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{OWN_KEYS.get(name, name)} {amount_of(name, amount)}" for name, amount in resources.items())


def gib(amount_bytes: float) -> str:
    """One digit behind the point, or what is left of less than that."""
    amount = amount_bytes / GIB
    return f"{amount:.1f}" if amount >= 0.1 or not amount else f"{amount:.1g}"


def needs_in_words(want: Want, needs: MemoryNeeds, part_bytes: int) -> str:
    """`part_bytes` of all that it needs are of interest."""
    of_all = "" if part_bytes == needs.total_bytes else f" of its {gib(needs.total_bytes)}"
    slot = want.slot
    return (
        f"{gib(part_bytes)} GiB{of_all} (weights {gib(needs.weights_bytes)}, KV cache {gib(needs.cache_bytes)} "
        f"for {slot.context_size} tokens x {slot.parallel_requests} requests)"
    )


def in_words(want: Want) -> str:
    """For a list of all slots."""
    claims = listed(want.claim.as_resources()) or "nothing"
    needs = want.needs
    likely = "unknown" if needs is None else f"about {needs_in_words(want, needs, needs.total_bytes)}"
    return f"on {want.device}; claims {claims}; needs {likely}"
