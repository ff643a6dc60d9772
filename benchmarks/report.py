"""From figures to what people read. Pure, but for `write`."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import LITELLM, NAIVE
from benchmarks.router import ROUTER
from benchmarks.servers import PLAIN, UP
from benchmarks.slots import CROWD
from benchmarks.statistics import CONFIDENCE, Comparison, Spread, Verdict, compare, compared, spread, verdict

NAME = "latest"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Figures of one case on one path and on the bare engine, round by round, in `unit`."""

    case: str
    title: str
    clients: int
    metric: str
    unit: str
    comparison: Comparison
    path: str
    bare: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def row(self) -> tuple[str, int, str]:
        return self.case, self.clients, self.metric

    @property
    def result(self) -> Spread:
        return compare(self.bare, self.ours, self.comparison)


Targets = Mapping[tuple[str, int, str], Mapping[str, float]]
"""By case, clients and metric: the bound of each path that has one. A ratio is to be above it, a difference below."""

TARGETS: Targets = {
    ("first-byte", 1, "median"): {UP: 2.0},
    ("first-byte", 1, "p99"): {UP: 5.0},
    ("paced", 64, "rate"): {UP: 0.97},
    ("paced", 64, "gap p99"): {UP: 10.0},
    ("embeddings", CROWD, "rate"): {UP: 0.6},
    ("cold-start", 1, "time"): {UP: 500.0, PLAIN: 2000.0},
    ("swap", 1, "time"): {UP: 1000.0},
}

PeerTargets = Mapping[tuple[str, int, str], Mapping[str, float]]
"""By case, clients and metric: how many times a peer's rate `hal0 up` is to reach, each relative to the bare engine."""

PEER_TARGETS: PeerTargets = {
    ("chat", CROWD, "rate"): {NAIVE: 10.0, LITELLM: 10.0},
    ("chat-real", CROWD, "rate"): {ROUTER: 1.0},
    ("embeddings", CROWD, "rate"): {ROUTER: 1.0},
}
PEERS = (ROUTER, LITELLM, NAIVE)


@dataclass(frozen=True, slots=True)
class Rivalry:
    """`hal0 up` and a peer in one case, each against the bare engine of its own rounds; `target` None: no aim."""

    ours: Measurement
    peer: Measurement
    target: float | None

    @property
    def result(self) -> Spread:
        """How many times the peer's rate; or milliseconds more than the peer adds."""
        comparison = self.ours.comparison
        peer = compared(self.peer.bare, self.peer.ours, comparison)
        return compare(peer, compared(self.ours.bare, self.ours.ours, comparison), comparison)

    @property
    def verdict(self) -> Verdict | None:
        return None if self.target is None else verdict(self.result, self.target, self.ours.comparison)


def rivalries(measurements: Sequence[Measurement], targets: PeerTargets = PEER_TARGETS) -> list[Rivalry]:
    own = {one.row: one for one in measurements if one.path == UP}
    return [
        Rivalry(own[one.row], one, targets.get(one.row, {}).get(one.path))
        for one in measurements
        if one.path in PEERS and one.row in own
    ]


def target_text(measurement: Measurement, targets: Targets = TARGETS) -> str:
    bounds = targets.get(measurement.row, {})
    sign, unit = ("≥", "") if measurement.comparison is Comparison.RATIO else ("≤", f" {measurement.unit}")
    return "; ".join(f"{path} {sign} {bound:g}{unit}" for path, bound in bounds.items())


def judged(measurement: Measurement, targets: Targets = TARGETS) -> Verdict | None:
    """None where the path has no target."""
    bound = targets.get(measurement.row, {}).get(measurement.path)
    return None if bound is None else verdict(measurement.result, bound, measurement.comparison)


def result_text(measurement: Measurement, targets: Targets = TARGETS) -> str:
    return compared_text(measurement.result, measurement, judged(measurement, targets))


def compared_text(result: Spread, measurement: Measurement, verdict: Verdict | None) -> str:
    end = f", {verdict.value}" if verdict is not None else ""
    if measurement.comparison is Comparison.RATIO:
        digits = 2 if result.median >= 0.1 else 4
        return f"**{result.median:.{digits}f}** ({result.low:.{digits}f} to {result.high:.{digits}f}){end}"
    digits, unit = digits_of(result.median), measurement.unit.split()[0]
    low, high = f"{result.low:+.{digits}f}", f"{result.high:+.{digits}f}"
    return f"**{result.median:+.{digits}f} {unit}** ({low} to {high}){end}"


def figure_text(figures: Sequence[float]) -> str:
    shown = spread(figures)
    digits = digits_of(shown.median)
    return f"{shown.median:.{digits}f} ({shown.low:.{digits}f} to {shown.high:.{digits}f})"


def digits_of(figure: float) -> int:
    """Decimals worth showing."""
    return 0 if abs(figure) >= 100 else 1 if abs(figure) >= 10 else 2


def markdown(record: Mapping[str, Any], measurements: Sequence[Measurement], plots: Sequence[str]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    lines = [
        "# What the way through hal0 costs",
        "",
        f"Measured {record['date']} by `python -m benchmarks{' --quick' if record['quick'] else ''}`: {machine}.",
        "Every round measures the bare engine and then the path, each alone. Cells are medians over rounds "
        f"({record['rounds']}; {record['cold starts']} cold starts, {record['swaps']} swaps), with the interval that "
        f"holds the median with {CONFIDENCE:.0%} (between order statistics; the least and the greatest if there are "
        "fewer than eight rounds, and with fewer than five it holds less). A target within the interval is undecided. "
        "`bare engine again` is the machine's noise: the bare engine as if it were a path. The load generator shares "
        "the machine with all of it.",
        "",
        *_failures(record["failed"]),
        "## Against the bare engine",
        "",
        "Ratios of rates (1.00 is the bare engine), and milliseconds (or KiB) added.",
        "",
        *result_table(measurements),
        "",
        *_rivals(rivalries(measurements)),
        "## Figures",
        "",
        *figure_table(measurements, "bare engine"),
        "",
        *(f"![{Path(plot).stem}]({plot})" for plot in plots),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _failures(failed: Sequence[str]) -> Iterable[str]:
    if failed:
        yield from ("Left out, since they failed:", "", *(f"- {' '.join(one.split())}" for one in failed), "")


def _rivals(found: Sequence[Rivalry]) -> Iterable[str]:
    if not found:
        return
    yield from (f"## {UP} against peers", "")
    yield "Each against the bare engine of its own rounds: how many times the peer's rate, or milliseconds more."
    yield from ("", line(["Case", "Clients", "Peer", UP, "Target"]), line(["---", "---:", "---", "---", "---"]))
    for one in found:
        cell = compared_text(one.result, one.ours, one.verdict)
        target = "" if one.target is None else f"≥ {one.target:g}"
        yield line([f"{one.ours.title}, {one.ours.metric}", str(one.ours.clients), one.peer.path, cell, target])
    yield ""


def result_table(measurements: Sequence[Measurement], targets: Targets = TARGETS) -> Iterable[str]:
    def last(of_row: Sequence[Measurement]) -> str:
        return target_text(of_row[0], targets)

    return _table(measurements, lambda one: result_text(one, targets), "Target", last)


def figure_table(measurements: Sequence[Measurement], bare: str) -> Iterable[str]:
    """`bare`: what the paths are compared with."""

    def last(of_row: Sequence[Measurement]) -> str:
        return figure_text([figure for one in of_row for figure in one.bare])

    return _table(measurements, lambda one: figure_text(one.ours), bare, last)


def _table(
    measurements: Sequence[Measurement],
    cell: Callable[[Measurement], str],
    last_title: str,
    last: Callable[[Sequence[Measurement]], str],
) -> Iterable[str]:
    paths = list(dict.fromkeys(measurement.path for measurement in measurements))
    yield line(["Case", "Clients", *paths, last_title])
    yield line(["---", "---:", *("---" for _ in paths), "---"])
    for row in dict.fromkeys(measurement.row for measurement in measurements):
        of_row = {measurement.path: measurement for measurement in measurements if measurement.row == row}
        one = next(iter(of_row.values()))
        title = f"{one.title}, {one.metric}, {one.unit}"
        cells = [cell(of_row[path]) if path in of_row else "" for path in paths]
        yield line([title, str(one.clients), *cells, last(tuple(of_row.values()))])


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_record(measurement: Measurement, targets: Targets = TARGETS) -> dict[str, Any]:
    return asdict(measurement) | {
        "result": asdict(measurement.result),
        "target": targets.get(measurement.row, {}).get(measurement.path),
        "verdict": judged(measurement, targets),
    }


def rivalry_record(one: Rivalry) -> dict[str, Any]:
    case, clients, metric = one.ours.row
    named = {"case": case, "clients": clients, "metric": metric, "path": one.ours.path, "peer": one.peer.path}
    return named | {"result": asdict(one.result), "target": one.target, "verdict": one.verdict}


def write(folder: Path, record: Mapping[str, Any], measurements: Sequence[Measurement], plots: Sequence[str]) -> None:
    """The figures as JSON, and the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "measurements": [as_record(one) for one in measurements],
        "peers": [rivalry_record(one) for one in rivalries(measurements)],
    }
    (folder / f"{NAME}.json").write_text(json.dumps({**record, **found}, indent=1) + "\n")
    (folder / "README.md").write_text(markdown(record, measurements, plots))
