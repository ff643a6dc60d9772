"""A day of many slots on many nodes, simulated: what a decision costs, and how long slots wait.

`python -m benchmarks.scheduling [--slots 1000 --nodes 200 --hours 24 --out FILE.json] [--quick]`
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.statistics import percentile
from serve_app.fleet import Decision, Fleet, Group, NodeSeen, Rules, SlotRule
from serve_app.policy.scheduling import Scheduler
from tests.support.fleet_simulator import Arrival, Decided, FleetSimulator, SlotTruth, Timing

GIB = 2.0**30
TURN_S = 30.0
LONGEST_REQUEST_S = 300.0
SLOWEST_LOAD_S = 60.0
SWAP_S = 10.0
"""Grace, news that comes late, a replica that leaves and another that appears."""
RUSH_PART_OF_DAY = 1 / 120
RUSHES = (0.4, 0.8)
"""Parts of the day at which the rush hours begin."""
FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 1)


@dataclass(frozen=True, slots=True)
class Day:
    """`rush`: requests for each slot in each rush of a day."""

    slots: int
    nodes: int
    hours: float
    seed: int = 1
    rush: float = 2.4


@dataclass(frozen=True, slots=True)
class Report:
    """Costs are CPU milliseconds of one decision; `busiest_...` are of those with at least half of the most waiting
    slots. `swaps` are loads of slots that had been evicted before. Waits are of slots that have requests and none in
    flight."""

    slots: int
    nodes: int
    hours: float
    requests: int
    decisions: int
    cost_median_ms: float
    cost_p99_ms: float
    cost_max_ms: float
    busiest_median_ms: float
    busiest_p99_ms: float
    most_resident: int
    most_waiting: int
    evictions: int
    loads: int
    swaps: int
    turns_ended: int
    wait_median_s: float
    wait_longest_s: float
    wait_bound_s: float
    waits_beyond_bound: int


class TimedScheduler(Scheduler):
    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self.costs_ms: list[float] = []

    def decide(self, fleet: Fleet, now: float) -> Decision:
        began = time.thread_time()
        decision = super().decide(fleet, now)
        self.costs_ms.append((time.thread_time() - began) * 1000)
        return decision


class Tally:
    """What the decisions of a day come to."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.most_resident = self.evictions = self.swaps = self.turns_ended = 0
        self._evicted: set[str] = set()
        self._yielding: frozenset[str] = frozenset()

    def note(self, fleet: Fleet, decision: Decision) -> None:
        self.waiting.append(len(decision.waits))
        self.most_resident = max(self.most_resident, sum(bool(seen.replicas) for seen in fleet.slots.values()))
        stopped = {name for name, target in decision.targets.items() if not target}
        started = {name for name, target in decision.targets.items() if target and not fleet.targets[name]}
        self.evictions += len(stopped)
        self.swaps += len(started & self._evicted)
        self._evicted = (self._evicted | stopped) - started
        self.turns_ended += len(decision.yielding - self._yielding)
        self._yielding = decision.yielding


def simulator_of(day: Day, tally: Tally, decided: Decided = lambda *_: None) -> FleetSimulator:
    chance = Random(day.seed)
    rules, truths = {}, {}
    for index in range(day.slots):
        name = f"slot-{index:04}"
        rules[name] = SlotRule(
            claim={"vram_gib": chance.choice([4.0, 6.0, 8.0, 12.0, 16.0, 24.0]), "CPU": chance.choice([0.5, 1.0])},
            max_replicas=chance.choice([1, 1, 1, 2]),
            parallel_requests=chance.choice([1, 2, 4]),
            unload_after_s=3600,
            priority=chance.choice([0, 0, 0, 5]),
        )
        load_s = min(SLOWEST_LOAD_S, chance.lognormvariate(2, 0.8))
        truths[name] = SlotTruth(load_s, needs={"memory": chance.uniform(0.5, 4.0) * GIB})
    for name in list(truths)[: day.slots // 50]:
        truths[name].pinned = True
    names = list(truths)[day.slots // 50 :]
    pairs = [Group(frozenset(chance.sample(names, 2)), exclusive=True) for _ in range(day.slots // 50)]
    total = {"vram_gib": 24.0, "CPU": 16.0, "memory": 48 * GIB}
    nodes = {f"{index:08x}": NodeSeen(total) for index in range(day.nodes)}
    timing = Timing(waiting_tick_s=2.0, tick_s=60.0, together_s=0.25)

    def note(simulator: FleetSimulator, fleet: Fleet, decision: Decision) -> None:
        tally.note(fleet, decision)
        decided(simulator, fleet, decision)

    simulator = FleetSimulator(Rules(rules, tuple(pairs), TURN_S), nodes, truths, chance, timing, note)
    simulator.expect(arrivals(day, names, chance))
    return simulator


def arrivals(day: Day, names: list[str], chance: Random) -> Iterator[Arrival]:
    """Some slots are asked for more often than others; two rush hours are beyond what the nodes hold."""
    day_s = day.hours * 3600
    weights = [1 / (1 + index) ** 0.5 for index in range(len(names))]
    calm, rush = 1.5 * day.slots, day.rush * day.slots * day.hours / 24
    moments = [chance.uniform(0, day_s) for _ in range(round(calm * day.hours / 24))]
    for begins in RUSHES:
        moments += [(begins + chance.random() * RUSH_PART_OF_DAY) * day_s for _ in range(round(rush))]
    for at in sorted(moments):
        lasts_s = min(LONGEST_REQUEST_S, chance.lognormvariate(4.5, 1.0))
        yield Arrival(at, chance.choices(names, weights)[0], lasts_s)


def run(day: Day) -> Report:
    tally = Tally()
    simulator = simulator_of(day, tally)
    timed = TimedScheduler(simulator.rules)
    simulator.scheduler = timed
    simulator.run(day.hours * 3600)
    waits = [one.waited_s for one in simulator.starved]
    most_waiting = max(tally.waiting)
    busiest = [cost for cost, n in zip(timed.costs_ms, tally.waiting, strict=True) if n >= max(1, most_waiting / 2)]
    return Report(
        slots=day.slots,
        nodes=day.nodes,
        hours=day.hours,
        requests=simulator.answered,
        decisions=len(timed.costs_ms),
        cost_median_ms=median(timed.costs_ms),
        cost_p99_ms=percentile(timed.costs_ms, 99),
        cost_max_ms=max(timed.costs_ms),
        busiest_median_ms=median(busiest),
        busiest_p99_ms=percentile(busiest, 99),
        most_resident=tally.most_resident,
        most_waiting=most_waiting,
        evictions=tally.evictions,
        loads=simulator.starts,
        swaps=tally.swaps,
        turns_ended=tally.turns_ended,
        wait_median_s=median(waits),
        wait_longest_s=max(waits),
        wait_bound_s=max(bound_s(one.ahead) for one in simulator.starved if one.waited_s == max(waits)),
        waits_beyond_bound=sum(one.waited_s > bound_s(one.ahead) for one in simulator.starved),
    )


def bound_s(ahead: int) -> float:
    """Of a slot that finds `ahead` others waiting."""
    return (ahead + 1) * (TURN_S + LONGEST_REQUEST_S + SLOWEST_LOAD_S + SWAP_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="a quarter of the slots, nodes and hours")
    chosen = parser.parse_args()
    scale = 4 if chosen.quick else 1
    reports = []
    for fraction in FRACTIONS:
        slots, nodes = round(chosen.slots * fraction / scale), round(chosen.nodes * fraction / scale)
        reports.append(run(Day(slots, max(1, nodes), chosen.hours / scale)))
        print(line(reports[-1]), flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps([asdict(report) for report in reports], indent=2) + "\n")


def line(report: Report) -> str:
    return (
        f"{report.slots} slots, {report.nodes} nodes, {report.hours:g} h: {report.requests} requests, "
        f"{report.decisions} decisions of {report.cost_median_ms:.2f} ms (p99 {report.cost_p99_ms:.2f}, "
        f"max {report.cost_max_ms:.2f}; when busiest {report.busiest_median_ms:.2f}, p99 {report.busiest_p99_ms:.2f}); "
        f"at most {report.most_resident} resident and {report.most_waiting} waiting; {report.evictions} evictions, "
        f"{report.swaps} swaps, {report.turns_ended} turns ended; waits {report.wait_median_s:.1f} s, longest "
        f"{report.wait_longest_s:.0f} of at most {report.wait_bound_s:.0f} s, {report.waits_beyond_bound} beyond"
    )


if __name__ == "__main__":
    main()
