"""Who is evicted for one waiting slot, against trying all sets of slots on all nodes."""

from collections.abc import Iterator
from itertools import chain, combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.fleet import Fleet, NodeSeen, Phase, ReplicaSeen, Rules, SlotRule, SlotSeen
from serve_app.policy.scheduling import Scheduler

NOW = 1000.0
TOTAL = {"GPU": 4.0, "npu": 2.0}

Resident = tuple[int, float, int, float, float, bool]
"""Node, GPU, npu, load time, quiet time, busy."""


def fits_so_far(found: list[Resident], node: int) -> bool:
    there = [one for one in found if one[0] == node]
    return sum(one[1] for one in there) <= TOTAL["GPU"] and sum(one[2] for one in there) <= TOTAL["npu"]


def fitting(found: list[Resident]) -> list[Resident]:
    kept: list[Resident] = []
    for one in found:
        if fits_so_far([*kept, one], one[0]):
            kept.append(one)
    return kept


residents = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([0.5, 1.0, 2.0]),
        st.integers(0, 1),
        st.floats(0.5, 20),
        st.floats(5, 250),
        st.booleans(),
    ),
    max_size=8,
).map(fitting)


def seen_of(resident: Resident) -> SlotSeen:
    node, _, _, load_s, quiet_s, busy = resident
    return SlotSeen(
        replicas=(ReplicaSeen(f"n{node}", Phase.READY),),
        in_flight=int(busy),
        loaded_at=NOW - 280,
        last_used=NOW - quiet_s,
        load_s=load_s,
    )


def sufficient_sets(found: list[Resident], gpu: float, npu: int) -> Iterator[frozenset[int]]:
    idle = [index for index, one in enumerate(found) if not one[5]]
    for chosen in chain.from_iterable(combinations(idle, size) for size in range(len(idle) + 1)):
        for node in (0, 1):
            left = [one for index, one in enumerate(found) if one[0] == node and index not in chosen]
            fits = (
                sum(one[1] for one in left) + gpu <= TOTAL["GPU"] and sum(one[2] for one in left) + npu <= TOTAL["npu"]
            )
            if fits:
                yield frozenset(chosen)


@settings(max_examples=200, deadline=None)
@given(found=residents, gpu=st.sampled_from([1.0, 2.0, 3.0, 4.0]), npu=st.integers(0, 2))
def test_the_cheapest_sufficient_set_on_any_node_goes(found: list[Resident], gpu: float, npu: int) -> None:
    rules = {f"r{index}": SlotRule({"GPU": one[1], "npu": float(one[2])}) for index, one in enumerate(found)}
    rules["new"] = SlotRule({"GPU": gpu, "npu": float(npu)})
    slots = {f"r{index}": seen_of(one) for index, one in enumerate(found)}
    slots["new"] = SlotSeen(queued=1, queued_since=NOW)
    nodes = {"n0": NodeSeen(TOTAL), "n1": NodeSeen(TOTAL)}
    targets = {name: len(seen.replicas) for name, seen in slots.items()}
    decision = Scheduler(Rules(rules)).decide(Fleet(slots, nodes, targets), NOW)

    loss = [load_s / (1 + quiet_s) for _, _, _, load_s, quiet_s, _ in found]
    choices = {chosen: sum(loss[index] for index in chosen) for chosen in sufficient_sets(found, gpu, npu)}
    evicted = frozenset(int(name[1:]) for name, target in decision.targets.items() if name != "new" and not target)
    if not choices:
        assert not decision.targets
        assert "new" in decision.waits
        return
    assert evicted in choices
    assert choices[evicted] <= min(choices.values()) + 1e-9
    assert not any(other < evicted for other in choices)
    assert (decision.targets.get("new") == 1) is (not evicted)
