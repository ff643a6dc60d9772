"""What a slot claims from Ray, which device it gets, and whether any node could ever hold it. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from providers.devices import AUTO, DECLARED_BY, PREFERENCE, RAY_RESOURCE, Device
from providers.spec import SlotSpec

GIB = 1024**3
NodeResources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Claim:
    """Ray's terms: `num_cpus`, `num_gpus`, bytes of memory, and custom resources."""

    cpus: float
    gpus: float
    memory_bytes: int
    custom: Mapping[str, float]

    def as_resources(self) -> dict[str, float]:
        """By the names that nodes declare."""
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory_bytes), **self.custom}
        return {name: amount for name, amount in named.items() if amount > 0}


def claim_of(slot: SlotSpec, device: Device) -> Claim:
    """What the slot's configuration names, and a share of its device where it names no amount of that."""
    custom = dict(slot.resources.custom)
    gpus = slot.resources.gpu or 0.0
    resource = RAY_RESOURCE[device]
    if device is Device.CUDA:
        gpus = slot.resources.gpu or slot.device_claim
    elif resource is not None:
        custom.setdefault(resource, slot.device_claim)
    return Claim(slot.resources.cpu, gpus, int(slot.resources.memory_gib * GIB), custom)


def resolve_device(slot: SlotSpec, supported: frozenset[Device], nodes: Sequence[NodeResources]) -> Device:
    """The configured device; for `auto` the best that the provider supports and some node can give."""
    if slot.device != AUTO:
        return Device(slot.device)
    for device in PREFERENCE:
        if device in supported and any(_offers(node, device, claim_of(slot, device)) for node in nodes):
            return device
    return Device.CPU if Device.CPU in supported else next(d for d in PREFERENCE if d in supported)


def _offers(node: NodeResources, device: Device, claim: Claim) -> bool:
    declared = device is Device.CPU or node.get(DECLARED_BY[device], 0.0) > 0
    return declared and fits(claim, node)


def fits(claim: Claim, node: NodeResources) -> bool:
    return all(node.get(name, 0.0) >= amount for name, amount in claim.as_resources().items())


def times_fitting(claim: Claim, node: NodeResources, most: int) -> int:
    """How many times over an empty node could hold the claim; `most` at most."""
    return int(min((node.get(name, 0.0) // amount for name, amount in claim.as_resources().items()), default=most))


def advice_if_unplaceable(claim: Claim, nodes: Sequence[NodeResources], stages: int = 1) -> str | None:
    """None if empty nodes could hold the claim once for each stage; else what is missing and how to declare it."""
    times = sum(times_fitting(claim, node, stages) for node in nodes)
    if times >= stages:
        return None
    if times:
        needs = f"it needs {_listed(claim.as_resources())} for each of {stages} stages"
        return f"{needs}, and all nodes together have that {times} times. Add a node, or take fewer stages."
    lacking = {
        name: amount
        for name, amount in claim.as_resources().items()
        if not any(node.get(name, 0.0) >= amount for node in nodes)
    }
    if not lacking:
        return f"it needs {_listed(claim.as_resources())} on one node, and no single node declares all of that"
    return f"it needs {_listed(lacking)}, which no node declares. {_how_to_declare(lacking)}"


def _how_to_declare(lacking: Mapping[str, float]) -> str:
    custom = {name: max(1, amount) for name, amount in lacking.items() if name not in ("CPU", "GPU", "memory")}
    if not custom:
        return "Claim less in the slot's `resources`, or add a node that has it."
    declared = json.dumps(custom)
    return (
        f"If a node has it, declare it: `hal0 up --resources '{declared}'`, "
        f"or `ray start --resources='{declared}'` on that node before `serve run`."
    )


def _listed(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name}: {amount:g}" for name, amount in resources.items())
