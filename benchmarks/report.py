"""From figures to what people read. Pure, but for `write`."""

import json
from collections.abc import Iterable, Mapping, Sequence
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


TARGETS: Mapping[tuple[str, int, str], Mapping[str, float]] = {
    ("first-byte", 1, "median"): {HAPROXY: 3.0, PLAIN: 15.0},
    ("tokens", 1, "rate"): {HAPROXY: 0.95},
    ("tokens", 8, "rate"): {HAPROXY: 0.9},
    ("embeddings", 16, "rate"): {HAPROXY: 0.6},
}
"""By case, clients and metric: the bound of each path that has one. A ratio is to be above it, a difference below."""


def target_text(measurement: Measurement) -> str:
    bounds = TARGETS.get(measurement.row, {})
    sign, unit = ("≥", "") if measurement.comparison is Comparison.RATIO else ("≤", f" {measurement.unit}")
    return "; ".join(f"{path} {sign} {bound:g}{unit}" for path, bound in bounds.items())


def met(measurement: Measurement) -> bool | None:
    """None where the path has no target."""
    bound = TARGETS.get(measurement.row, {}).get(measurement.path)
    if bound is None:
        return None
    median = measurement.result.median
    return median >= bound if measurement.comparison is Comparison.RATIO else median <= bound


def result_text(measurement: Measurement) -> str:
    verdict = {True: ", met", False: ", missed", None: ""}[met(measurement)]
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
        *_table(measurements, lambda measurement: result_text(measurement), with_targets=True),
        "",
        "## Figures",
        "",
        *_table(measurements, lambda measurement: figure_text(measurement.ours), with_targets=False),
        "",
        *(f"![{Path(plot).stem}]({plot})" for plot in plots),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(measurements: Sequence[Measurement], cell: Any, with_targets: bool) -> Iterable[str]:
    paths = list(dict.fromkeys(measurement.path for measurement in measurements))
    last = ["Target"] if with_targets else ["Bare engine"]
    yield _line(["Case", "Clients", *paths, *last])
    yield _line(["---", "---:", *("---" for _ in paths), "---"])
    for row in dict.fromkeys(measurement.row for measurement in measurements):
        of_row = {measurement.path: measurement for measurement in measurements if measurement.row == row}
        one = next(iter(of_row.values()))
        title = f"{one.title}, {one.metric}, {one.unit}"
        cells = [cell(of_row[path]) if path in of_row else "" for path in paths]
        bare = [figure for measurement in of_row.values() for figure in measurement.bare]
        yield _line([title, str(one.clients), *cells, target_text(one) if with_targets else figure_text(bare)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_record(measurement: Measurement) -> dict[str, Any]:
    return asdict(measurement) | {
        "result": asdict(measurement.result),
        "target": TARGETS.get(measurement.row, {}).get(measurement.path),
        "met": met(measurement),
    }


def write(folder: Path, record: Mapping[str, Any], measurements: Sequence[Measurement], plots: Sequence[str]) -> None:
    """`<date>.json`, `latest.json` and the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**record, "measurements": [as_record(one) for one in measurements]}, indent=1) + "\n"
    for name in (str(record["date"]), "latest"):
        (folder / f"{name}.json").write_text(text)
    (folder / "README.md").write_text(markdown(record, measurements, plots))
