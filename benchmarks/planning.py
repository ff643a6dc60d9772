"""What a cluster costs its board, piece by piece, in CPU time: the figures of docs/cluster-planning.md.

`python -m benchmarks.planning [--ray] [--out FILE.json] [--quick]`. `--ray` adds what needs a Ray: calls and looks.
"""

import argparse
import json
import os
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.planning_figure import Figure
from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app.board import Board
from serve_app.bulletin import Sightings
from serve_app.events import KEPT
from serve_app.launch.environment import FAST_PATH
from serve_app.lifecycle import SlotState
from serve_app.news import ReplicaNews, Traffic
from serve_app.placement import Claim

SIZES = ((8, 1), (80, 10), (800, 100), (8000, 1000))
"""Slots and nodes; each node has an ingress, and every second slot a replica."""
ROUNDS, LEAST_S = 5, 0.05
CLAIM = Claim(1, 0, 0, {"vram_gib": 8.0})
ESTIMATE = {"weights_bytes": 4e9, "cache_bytes": 1e9, "node_bytes": 1e9, "device_bytes": 4e9}


def cpu_us(work: Callable[[], object], least_s: float = LEAST_S) -> float:
    """Of one call: the median of several rounds, each long enough for the clock."""
    rounds = []
    for _ in range(ROUNDS):
        calls, began = 0, time.thread_time()
        while (spent := time.thread_time() - began) < least_s:
            work()
            calls += 1
        rounds.append(spent / calls * 1e6)
    return median(rounds)


class Town:
    """A board that has heard of a cluster in the middle of its day: half of the slots loaded, and each of those used by
    one ingress in ten, or by one."""

    def __init__(self, slots: int, nodes: int) -> None:
        self.slots, self.nodes, self.now = slots, nodes, 1000.0
        names = [f"slot-{index}" for index in range(slots)]
        self.board = Board({name: (spec(name), "cuda", CLAIM) for name in names}, self.now)
        self.loaded = names[::2]
        self.number = 0
        for name in self.loaded:
            for state in (SlotState.STARTING, SlotState.WARMING, SlotState.READY):
                self.board.replica_news(self.news(name, state), self.now)
        for ingress in range(0, nodes, 10):
            self.board.traffic_report(f"ingress-{ingress}", dict.fromkeys(self.loaded, self.traffic(1)), self.now)

    def news(self, slot: str, state: SlotState = SlotState.READY) -> ReplicaNews:
        self.number += 1
        node = f"{self.number % self.nodes:056x}"
        return ReplicaNews(
            slot, f"replica-{slot}", self.number, state, node, "cuda",
            load_seconds=12.5, estimated=ESTIMATE, measured_bytes=5_000_000_000, available_bytes=30_000_000_000,
        )  # fmt: skip

    def traffic(self, in_flight: int) -> Traffic:
        self.number += 1
        return Traffic(in_flight, 0, self.number, self.now)

    def report(self) -> dict[str, Traffic]:
        """Of one ingress four of whose slots have changed, all in use before and after."""
        return {name: self.traffic(1 + self.number % 2) for name in self.loaded[:4]}


def notice_of(board: Board) -> bytes:
    return pickle.dumps(Sightings("board", 1, board.sightings(), board.available_gib()))


def spec(name: str) -> SlotSpec:
    return SlotSpec(name=name, provider="llama.cpp", model="m.gguf", capabilities=(Capability.CHAT,), max_replicas=2)


def of_the_board(slots: int, nodes: int, least_s: float = LEAST_S) -> Iterator[Figure]:
    town = Town(slots, nodes)
    board, now = town.board, town.now
    board.tick(now)
    used = town.loaded[0]

    def figure(what: str, work: Callable[[], object], unit: str = "us") -> Figure:
        return Figure(what, slots, nodes, cpu_us(work, least_s), unit)

    yield figure("replica's news, nothing new", lambda: board.replica_news(town.news(used), now))
    yield figure("traffic report, four slots", lambda: board.traffic_report("ingress-0", town.report(), now))
    yield figure("all moves that only time makes", lambda: board.tick(now))
    yield figure("verdict of the policy, nothing new", lambda: board.decided({}, (), now))
    yield figure("notice for the policy", lambda: notice_of(board))
    notice = notice_of(board)
    yield figure("notice, read by the policy", lambda: pickle.loads(notice))
    yield Figure("notice for the policy", slots, nodes, len(notice), "bytes")
    for turn in range(KEPT):
        board.pin(used, turn % 2 == 0, now)
    yield figure("a follower's look that brings nothing", lambda: board.batch(board.events.cursor))
    before = board.events.cursor
    board.pin(used, not board.pins().get(used, False), now)
    yield figure("a follower's poll that brings one event", lambda: pickle.dumps(board.batch(before)))
    yield Figure("an event", slots, nodes, len(pickle.dumps(board.batch(before))), "bytes")
    yield Figure("how all stands, for one that comes new", slots, nodes, len(pickle.dumps(board.batch(None))), "bytes")
    yield Figure("replica's news", slots, nodes, len(pickle.dumps(town.news(used))), "bytes")
    yield Figure("traffic report, four slots", slots, nodes, len(pickle.dumps(town.report())), "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--ray", action="store_true", help="also what needs a Ray, which is started for it")
    parser.add_argument("--quick", action="store_true", help="only to see that it works")
    options = parser.parse_args()
    sizes, least_s = (SIZES[:1], 0.001) if options.quick else (SIZES, LEAST_S)
    figures = [figure for slots, nodes in sizes for figure in of_the_board(slots, nodes, least_s)]
    if options.ray:
        # Ray reads it when it is imported.
        os.environ.update(FAST_PATH)
        from benchmarks.planning_ray import of_ray

        figures += of_ray()
    for one in figures:
        print(f"{one.slots:>6} slots {one.nodes:>5} nodes  {one.what:44} {one.amount:12,.1f} {one.unit}")
    if options.out is not None:
        options.out.write_text(json.dumps([asdict(one) for one in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
