"""From figures to what people read. Pure, but for `write`."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import HAPROXY, PLAIN
from benchmarks.statistics import Comparison, Spread, compare, spread


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
    ("first-byte", 1, "median"): {HAPROXY: 3.0, PLAIN: 15.0},
    ("tokens", 1, "rate"): {HAPROXY: 0.95},
    ("tokens", 8, "rate"): {HAPROXY: 0.9},
    ("embeddings", 16, "rate"): {HAPROXY: 0.6},
}


def target_text(measurement: Measurement, targets: Targets = TARGETS) -> str:
    bounds = targets.get(measurement.row, {})
    sign, unit = ("≥", "") if measurement.comparison is Comparison.RATIO else ("≤", f" {measurement.unit}")
    return "; ".join(f"{path} {sign} {bound:g}{unit}" for path, bound in bounds.items())


def met(measurement: Measurement, targets: Targets = TARGETS) -> bool | None:
    """None where the path has no target."""
    bound = targets.get(measurement.row, {}).get(measurement.path)
    if bound is None:
        return None
    median = measurement.result.median
    return median >= bound if measurement.comparison is Comparison.RATIO else median <= bound


def result_text(measurement: Measurement, targets: Targets = TARGETS) -> str:
    verdict = {True: ", met", False: ", missed", None: ""}[met(measurement, targets)]
    result = measurement.result
    if measurement.comparison is Comparison.RATIO:
        return f"**{result.median:.2f}** ({result.low:.2f} to {result.high:.2f}){verdict}"
    return f"**{result.median:+.1f} ms** ({result.low:+.1f} to {result.high:+.1f}){verdict}"


def figure_text(figures: Sequence[float]) -> str:
    shown = spread(figures)
    digits = 0 if shown.median >= 100 else 1
    return f"{shown.median:.{digits}f} ({shown.low:.{digits}f} to {shown.high:.{digits}f})"


def markdown(record: Mapping[str, Any], measurements: Sequence[Measurement], plots: Sequence[str]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    lines = [
        "# What the way through hal0 costs",
        "",
        f"Measured {record['date']} by `python -m benchmarks{' --quick' if record['quick'] else ''}`: {machine}.",
        "Every round measures the bare engine and then the path, each alone; cells are the medians over "
        f"{record['rounds']} rounds (least to greatest). The load generator shares the machine with all of it.",
        "",
        "## Against the bare engine",
        "",
        "Ratios of rates (1.00 is the bare engine), and milliseconds added.",
        "",
        *result_table(measurements),
        "",
        "## Figures",
        "",
        *figure_table(measurements, "Bare engine"),
        "",
        *(f"![{Path(plot).stem}]({plot})" for plot in plots),
    ]
    return "\n".join(lines).rstrip() + "\n"


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
        "met": met(measurement, targets),
    }


def undecided(measurements: Sequence[Measurement], targets: Targets) -> list[Measurement]:
    """Those with an aim that lies between their rounds: the machine was too busy to tell."""
    found = []
    for one in measurements:
        aim = targets.get(one.row, {}).get(one.path)
        if aim is not None and one.result.low < aim < one.result.high:
            found.append(one)
    return found


def undecided_list(found: Iterable[str]) -> Iterable[str]:
    """`found`: what each of them is called."""
    if items := [f"- {one}" for one in found]:
        yield from ("Undecided, since some rounds met the aim and some missed it:", "", *items, "")


def write(folder: Path, record: Mapping[str, Any], measurements: Sequence[Measurement], plots: Sequence[str]) -> None:
    """`<date>.json`, `latest.json` and the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**record, "measurements": [as_record(one) for one in measurements]}, indent=1) + "\n"
    for name in (str(record["date"]), "latest"):
        (folder / f"{name}.json").write_text(text)
    (folder / "README.md").write_text(markdown(record, measurements, plots))
