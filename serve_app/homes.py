"""Which nodes have which slots' model files, so that a slot is loaded where nothing need be pulled.

Replicas tell of the nodes that they load on. On nodes that are new, and on all of them now and then, a task looks:
files may lie in a shared folder, have been pulled by hand, or been removed. A look costs the node a worker process for
some milliseconds, so that a single machine, which has no choice, is spared it. Nothing of this is stored: a board that
was restarted looks again.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from providers.spec import SlotSpec
from serve_app.config import parse_slot
from serve_app.models import ModelStore
from serve_app.settings import load_settings

logger = logging.getLogger("hal0.homes")

ROUNDS_S = 5.0
"""How often new nodes are looked for."""
LOOK_AGAIN_S = 300.0
ANSWER_WAIT_S = 60.0
"""A node may have to start a worker process first, while it loads models."""


class Rounds:
    """Which nodes are to be looked at. Pure."""

    def __init__(self) -> None:
        self._looked: dict[str, float] = {}
        """When each node was last to be looked at."""

    def due(self, nodes: Collection[str], now: float) -> list[str]:
        """Each of `nodes` once in a while, and none if there is only one. `now`: on a clock that only goes forward."""
        self._looked = {node: at for node, at in self._looked.items() if node in nodes}
        if len(nodes) < 2:
            return []
        due = [node for node in nodes if now - self._looked.get(node, -LOOK_AGAIN_S) >= LOOK_AGAIN_S]
        self._looked |= dict.fromkeys(due, now)
        return due


class Lookout:
    """Asks nodes which of the slots' files they have."""

    def __init__(self, raw_slots: Sequence[Mapping[str, Any]]) -> None:
        self._raw_slots = list(raw_slots)
        self._task: Any = ray.remote(num_cpus=0, max_retries=0)(slots_present)

    async def look(self, nodes: Collection[str]) -> dict[str, frozenset[str]]:
        """The slots that each node has; a node that does not answer is left out."""
        slots = ray.put(self._raw_slots)
        answers = await asyncio.gather(*(self._ask(node, slots) for node in nodes))
        return {node: found for node, found in zip(nodes, answers, strict=True) if found is not None}

    async def _ask(self, node: str, slots: Any) -> frozenset[str] | None:
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        answer = self._task.options(scheduling_strategy=where).remote(slots)
        try:
            return frozenset(await asyncio.wait_for(answer, ANSWER_WAIT_S))
        except Exception as error:
            logger.warning("node %s does not tell which models it has: %s", node, error)
            return None


def slots_present(raw_slots: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the slots whose files lie on this machine."""
    store = ModelStore(load_settings().models_dir)
    return [slot.name for slot in map(parse_slot, raw_slots) if _present(store, slot)]


def _present(store: ModelStore, slot: SlotSpec) -> bool:
    try:
        return store.present(slot)
    except OSError:
        return False
