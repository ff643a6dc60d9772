"""Pictures of the results."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import TARGETS, Measurement
from benchmarks.statistics import Comparison

SHOWN = {Comparison.RATIO: ("requests/s", "tokens/s"), Comparison.DIFFERENCE: ("ms",)}
LABELS = {Comparison.RATIO: "of the bare engine", Comparison.DIFFERENCE: "ms added to the bare engine"}


def draw(folder: Path, measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """One picture of ratios and one of differences; their file names."""
    names = []
    for comparison in Comparison:
        chosen = [one for one in measurements if one.comparison is comparison and one.unit in SHOWN[comparison]]
        if chosen:
            names.append(f"{comparison.value}.png")
            _draw(folder / names[-1], chosen, comparison)
    return tuple(names)


def _draw(file: Path, measurements: Sequence[Measurement], comparison: Comparison) -> None:
    # Matplotlib takes a second to import and is only there for development.
    from matplotlib.figure import Figure

    paths = list(dict.fromkeys(one.path for one in measurements))
    rows = list(dict.fromkeys(one.row for one in measurements))
    titles = {one.row: f"{one.title}\n{one.metric}, {one.clients} clients" for one in measurements}
    figure = Figure(figsize=(9, 1.2 + 0.8 * len(rows)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(paths)
    for index, path in enumerate(paths):
        of_path = {one.row: one.result for one in measurements if one.path == path}
        places = [place + index * height for place, row in enumerate(rows) if row in of_path]
        results = [of_path[row] for row in rows if row in of_path]
        spans = [
            [result.median - result.low for result in results],
            [result.high - result.median for result in results],
        ]
        axes.barh(places, [result.median for result in results], height, xerr=spans, label=path, capsize=2)
        for place, row in enumerate(rows):
            if (bound := TARGETS.get(row, {}).get(path)) is not None:
                middle = place + index * height
                axes.plot([bound, bound], [middle - height / 2, middle + height / 2], color="black", linewidth=2)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(rows))], [titles[row] for row in rows])
    axes.invert_yaxis()
    if comparison is Comparison.DIFFERENCE:
        axes.set_xscale("symlog", linthresh=10)
    axes.set_xlabel(f"{LABELS[comparison]} (thick line: target)")
    axes.legend(loc="best", fontsize="small")
    figure.savefig(file)
