"""What a cluster costs and brings: the hop between machines, two nodes against one, and a thousand slow streams.

`python -m benchmarks.cluster [--quick] [hop] [nodes] [streams]` (root: it makes machines of network namespaces, whose
traffic crosses a virtual switch). All of them share this machine's cores, so what computes gains nothing from a second
node; the engines of `nodes` and `streams` are load models that only keep time, as a GPU's process does for its host.
"""

import argparse
import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load import Address, Seen, load
from benchmarks.processes import memory
from benchmarks.servers import serve_config
from benchmarks.slots import SlotRecord, upstream_program
from benchmarks.statistics import Spread, percentile, spread
from tests.support import cluster_lan
from tests.support.cluster import HTTP_PORT, KEY, ClusterNode, RayCluster, started
from tests.support.server import eventually

RESULTS = Path(__file__).with_name("results") / "cluster.json"
NODES = {"head": {}, "east": {"seat": 2, "east": 1}, "west": {"seat": 2}}
CHAT_PATH = "/v1/chat/completions"
CHAT, INSTANT, ONE, TWO, SLOW = "chat", "instant", "one", "two", "slow"
PLACES = 8
SLOW_PLACES, SLOW_REPLICAS = 256, 4
TOKENS = 32
PARTS = ("hop", "nodes", "streams")


@dataclass(frozen=True, slots=True)
class Effort:
    rounds: int
    seconds: float
    streams: int
    stream_seconds: float


FULL = Effort(rounds=7, seconds=2.0, streams=1000, stream_seconds=30.0)
QUICK = Effort(rounds=2, seconds=1.0, streams=200, stream_seconds=8.0)


@dataclass(frozen=True, slots=True)
class Row:
    """`near` and `far` in `unit`, round by round; `result` is of their ratios or differences."""

    name: str
    unit: str
    near: tuple[float, ...]
    far: tuple[float, ...]
    result: Spread


def body(slot: str, tokens: int, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"model": slot, "messages": messages, "max_tokens": tokens, "stream": stream}


def slots(folder: Path) -> Sequence[SlotRecord]:
    program = str(upstream_program(folder))

    def keeping_time(rate: float) -> dict[str, Any]:
        return {"binary": program, "extra_args": ["--tokens-per-second", str(rate)]}

    base: dict[str, Any] = {
        "provider": "llama.cpp",
        "model": "demo/tiny-chat.gguf",
        "capabilities": ["chat"],
        "device": "cpu",
    }
    base |= {"unload_after_s": None, "idle_after_s": 3600, "context_size": 4096, "parallel_requests": 16}
    east, seat = {"custom": {"east": 0.1}}, {"custom": {"seat": 1}}
    one = {"resources": seat, "parallel_requests": PLACES, "options": keeping_time(50)}
    slow = {"parallel_requests": SLOW_PLACES, "max_replicas": SLOW_REPLICAS, "resources": {"custom": {"seat": 0.01}}}
    return (
        base | {"name": CHAT, "resources": east, "options": {"threads": 1}},
        base | {"name": INSTANT, "resources": east, "options": keeping_time(0)},
        base | one | {"name": ONE},
        base | one | {"name": TWO, "max_replicas": 2, "min_replicas": 2},
        base | slow | {"name": SLOW, "options": keeping_time(1), "min_replicas": SLOW_REPLICAS},
    )


def at(node: ClusterNode) -> Address:
    return Address(node.machine.address, HTTP_PORT, KEY)


def hop(cluster: RayCluster, effort: Effort) -> Iterator[Row]:
    """The same requests to the ingress beside the engine, and to the one of another machine."""
    east, west = at(cluster["east"]), at(cluster["west"])

    def pairs(slot: str, tokens: int, stream: bool, clients: int) -> list[tuple[Seen, Seen]]:
        asked = body(slot, tokens, stream)
        for address in (east, west):
            load(address, CHAT_PATH, asked, clients, 0.5)
        orders = [(east, west) if number % 2 else (west, east) for number in range(effort.rounds)]
        found = [{one: load(one, CHAT_PATH, asked, clients, effort.seconds) for one in order} for order in orders]
        return [(both[east], both[west]) for both in found]

    def first_byte_ms(seen: Seen) -> float:
        return median(seen.first_byte_s) * 1000

    def gap_ms(seen: Seen) -> float:
        return percentile(seen.gap_s, 99) * 1000

    def rate(seen: Seen) -> float:
        return seen.requests / seen.seconds

    for slot in (CHAT, INSTANT):
        alone, crowd = pairs(slot, 4, True, 1), pairs(slot, 4, False, 16)
        yield compared(f"{slot}: first byte, 1 client", "ms", alone, first_byte_ms, difference)
        yield compared(f"{slot}: requests/s, 16 clients", "1/s", crowd, rate, ratio)
    streams = pairs(ONE, TOKENS, True, PLACES)
    yield compared(f"streams of 50 tokens/s, {PLACES} clients: p99 of gaps", "ms", streams, gap_ms, difference)


def nodes(cluster: RayCluster, effort: Effort) -> Iterator[Row]:
    """A slot with one replica and one with a replica on each of two nodes, and clients for both to be full."""
    seconds = 4 * effort.seconds
    asked = {name: body(name, TOKENS, False) for name in (ONE, TWO)}
    entry = at(cluster.head)
    eventually("there are two", lambda: len(cluster.head.slot(TWO)["nodes"]) == 2)
    for name in (ONE, TWO):
        load(entry, CHAT_PATH, asked[name], 3 * PLACES, 1.0)
    found = [
        tuple(load(entry, CHAT_PATH, asked[name], 3 * PLACES, seconds) for name in (ONE, TWO))
        for _ in range(effort.rounds)
    ]
    pairs = [(single, double) for single, double in found]
    yield compared("answers/s of one node and of two", "1/s", pairs, lambda seen: seen.requests / seen.seconds, ratio)


def streams(cluster: RayCluster, effort: Effort) -> Mapping[str, float]:
    """Slow streams at once through one ingress to engines on two other machines, and what each costs it."""
    node = cluster.head
    [(ingress, _)] = node.machine.processes("ServeReplica:hal0:ingress")
    gates = [pid for one in cluster.nodes for pid, _ in one.machine.processes(f"ServeReplica:hal0:{SLOW}")]
    asked = body(SLOW, int(effort.stream_seconds) - 4, True)
    load(at(node), CHAT_PATH, body(SLOW, 1, True), 2 * SLOW_PLACES, 2.0)

    def held() -> float:
        return memory(ingress).pss

    def held_at_gates() -> float:
        return sum(memory(pid).pss for pid in gates)

    before, before_at_gates = held(), held_at_gates()
    seen, peaks = watched(
        lambda: load(at(node), CHAT_PATH, asked, effort.streams, effort.stream_seconds), held, held_at_gates
    )
    return {
        "streams": effort.streams,
        "answers": seen.requests,
        "events": seen.events,
        "failures": len(seen.failures),
        "first byte p99, ms": percentile(seen.first_byte_s, 99) * 1000,
        "gap p99, ms": percentile(seen.gap_s, 99) * 1000,
        "ingress KiB a stream": (peaks[0] - before) * 1024 / effort.streams,
        "slots' replicas KiB a stream": (peaks[1] - before_at_gates) * 1024 / effort.streams,
    }


def watched(work: Callable[[], Seen], *readings: Callable[[], float]) -> tuple[Seen, list[float]]:
    """What it returns, and the highest of each reading meanwhile."""
    peaks, done = [reading() for reading in readings], threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            peaks[:] = [max(peak, reading()) for peak, reading in zip(peaks, readings, strict=True)]

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        return work(), peaks
    finally:
        done.set()
        watching.join()


def ratio(near: float, far: float) -> float:
    return far / near


def difference(near: float, far: float) -> float:
    return far - near


def compared(
    name: str,
    unit: str,
    pairs: Sequence[tuple[Seen, Seen]],
    figure: Callable[[Seen], float],
    comparison: Callable[[float, float], float],
) -> Row:
    near, far = tuple(figure(one) for one, _ in pairs), tuple(figure(other) for _, other in pairs)
    return Row(name, unit, near, far, spread([comparison(a, b) for a, b in zip(near, far, strict=True)]))


@contextmanager
def running(folder: Path) -> Iterator[RayCluster]:
    with started(NODES, folder) as cluster:
        config = serve_config(slots(folder), HTTP_PORT)
        config["applications"][0]["args"]["ingress"] = {"replicas": "every_node", "access_log": False}
        config |= {"proxy_location": "Disabled", "http_options": {"host": "0.0.0.0", "port": HTTP_PORT}}
        cluster.deploy(json.dumps(config))
        cluster.wait_until_answered()
        yield cluster


def shown(row: Row) -> str:
    near, far, result = median(row.near), median(row.far), row.result
    figures = f"{near:.2f} -> {far:.2f} {row.unit}"
    return f"{row.name}: {figures}; {result.median:.2f} ({result.low:.2f} to {result.high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="whether it works, not how fast it is")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if (reason := cluster_lan.why_not()) is not None:
        parser.error(reason)
    effort = QUICK if options.quick else FULL
    parts = options.parts or list(PARTS)
    found: dict[str, Any] = {"effort": asdict(effort)}
    with tempfile.TemporaryDirectory(prefix="hal0-cluster-") as folder, running(Path(folder)) as cluster:
        for name, part in (("hop", hop), ("nodes", nodes)):
            if name in parts:
                found[name] = []
                for row in part(cluster, effort):
                    print(shown(row), flush=True)
                    found[name].append(asdict(row))
        if "streams" in parts:
            found["streams"] = streams(cluster, effort)
            print(found["streams"], flush=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
