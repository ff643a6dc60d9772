"""Whether slots could ever be loaded, by what they claim, what they are likely to need, and what nodes have. Pure.

A resource that no node declares is no reason to refuse: a node that has it may come yet, and until then each request
for the slot is told so. One that nodes declare too little of is.
"""

from collections.abc import Mapping, Sequence

from serve_app.config import ServingConfig
from serve_app.placement import GIB, Claim, NodeResources
from serve_app.want import Want, amount_of, gib, key_of, listed, needs_in_words

DEVICE_MEMORY = "vram_gib"
"""The custom resource by which a node declares its devices' own memory."""
ROUNDING = 1e-9


def oversized(
    config: ServingConfig, wants: Sequence[Want], nodes: Sequence[NodeResources], here_bytes: int = 0
) -> list[str]:
    """Every problem, with key path, value and what is allowed. `wants` follow the slots of `config`.

    `here_bytes` is the memory of this machine: a node's own figure leaves out what was in use when Ray started.
    """
    if not nodes:
        return []
    problems: list[str] = []
    for index, want in enumerate(wants):
        path = f"slots[{index}] ({want.slot.name})"
        claim = _declared_part(want.claim, nodes)
        problems += _claim_problems(path, claim, nodes) or _needs_problems(path, want, claim, nodes, here_bytes)
    return problems + _group_problems(config, wants, nodes) + _floor_problems(wants, nodes)


def _declared_part(claim: Claim, nodes: Sequence[NodeResources]) -> dict[str, float]:
    return {name: amount for name, amount in claim.as_resources().items() if _most(name, nodes) > 0}


def _most(name: str, nodes: Sequence[NodeResources]) -> float:
    return max(node.get(name, 0.0) for node in nodes)


def _holds(node: NodeResources, claim: Mapping[str, float]) -> bool:
    return all(node.get(name, 0.0) >= amount for name, amount in claim.items())


def _claim_problems(path: str, claim: Mapping[str, float], nodes: Sequence[NodeResources]) -> list[str]:
    problems = [
        f"{path}.resources.{key_of(name)}: {amount_of(name, amount)} does not fit; "
        f"the largest node has {amount_of(name, _most(name, nodes))}; allowed: at most that"
        for name, amount in claim.items()
        if amount > _most(name, nodes)
    ]
    if problems or any(_holds(node, claim) for node in nodes):
        return problems
    return [f"{path}.resources: no single node has {listed(claim)}; allowed: what one node has"]


def _needs_problems(
    path: str, want: Want, claim: Mapping[str, float], nodes: Sequence[NodeResources], here_bytes: int
) -> list[str]:
    """Of the nodes that could hold the claim none has the memory. One that declares none is not held to it."""
    if (needs := want.needs) is None:
        return []
    candidates = [node for node in nodes if _holds(node, claim)]
    # Ray sets a part of a node's memory aside for its object store, which takes it only when it is used.
    node_memory = max(node.get("memory", 0.0) + node.get("object_store_memory", 0.0) for node in candidates)
    on_devices = [node.get(DEVICE_MEMORY, 0.0) for node in candidates]
    device_memory = max(on_devices) * GIB if all(on_devices) else 0.0
    return [
        f"{path}: needs {needs_in_words(want, needs, part)} and the largest node has {gib(most)} GiB{kind}; "
        "lower context_size or parallel_requests, or take a smaller model"
        for part, most, kind in (
            (needs.node_bytes, max(here_bytes, node_memory), ""),
            (needs.device_bytes, device_memory, f" by its {DEVICE_MEMORY}"),
        )
        if 0 < most < part
    ]


def _group_problems(config: ServingConfig, wants: Sequence[Want], nodes: Sequence[NodeResources]) -> list[str]:
    """Slots that never give way to each other, and could not all be loaded."""
    by_name = {want.slot.name: want for want in wants}
    return [
        f"scheduling.groups[{index}].slots: {', '.join(group.slots)} claim {lack}; "
        "allowed: slots that fit side by side, or resident: one"
        for index, group in enumerate(config.scheduling.groups)
        if group.resident == "all"
        for lack in _lacking({name: (by_name[name], by_name[name].slot.stages) for name in group.slots}, nodes)
    ]


def _floor_problems(wants: Sequence[Want], nodes: Sequence[NodeResources]) -> list[str]:
    """Slots that must always be loaded, and could not all be."""
    floors = ((want, want.slot.replica_floor * want.slot.stages) for want in wants)
    always = {want.slot.name: (want, claims) for want, claims in floors if claims}
    return [
        f"slots ({', '.join(always)}): by pin or min_replicas they claim {lack}; "
        "allowed: fewer of them, or smaller claims"
        for lack in _lacking(always, nodes)
    ]


def _lacking(claims: Mapping[str, tuple[Want, int]], nodes: Sequence[NodeResources]) -> list[str]:
    """Each of the claims so many times over: every resource of which all nodes together have less, in words."""
    sums: dict[str, float] = {}
    for want, count in claims.values():
        for name, amount in _declared_part(want.claim, nodes).items():
            sums[name] = sums.get(name, 0.0) + amount * count
    have = {name: sum(node.get(name, 0.0) for node in nodes) for name in sums}
    who = "the one node has" if len(nodes) == 1 else f"all {len(nodes)} nodes have"
    return [
        f"{key_of(name)} {amount_of(name, amount)} together, but {who} {amount_of(name, have[name])}"
        for name, amount in sums.items()
        if amount > have[name] + ROUNDING
    ]
