"""From figures of text to speech to what people read. Pure, but for `write`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import (
    Measurement,
    as_record,
    figure_table,
    line,
    result_table,
)
from benchmarks.speaking_cases import AIMS

BARE = "kokoro-onnx directly"
NAME = "speaking"
REAL_SPEED = 5
"""Times real time, of a model of a size that people use, on a CPU."""


def markdown(record: Mapping[str, Any], measurements: Sequence[Measurement]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    command = f"python -m benchmarks.speaking{' --quick' if record['quick'] else ''}"
    lines = [
        "# What hal0 costs text to speech",
        "",
        f"Measured {record['date']} by `{command}`: {machine}.",
        "Every round measures `kokoro-onnx` called directly, in one process with one loaded model, and then hal0, each "
        "alone. Both speak the same text with the same voice, with one thread of ONNX Runtime, sentence by sentence "
        "cut alike, and encode it with the same settings, each sentence as soon as it is spoken. Cells are medians "
        f"over {record['rounds']} rounds, with intervals as in README.md here. The client shares the machine with all "
        "of it.",
        "",
        "The model is tiny: it computes more than a thousand seconds of speech in one, where Kokoro itself on a CPU "
        "computes a few. So hal0's fixed costs look as large here as they ever can. A ratio above 1 is no wonder where "
        "sound is encoded: hal0 computes the next sentence meanwhile, in another process; the library's caller does "
        "one after the other.",
        "",
        "## Against the library",
        "",
        "Ratios of rates (1.00 is the library), and milliseconds added. Speed is reckoned with the seconds that the "
        "library speaks, on both sides.",
        "",
        *result_table(measurements, AIMS),
        "",
        "An aim within the interval is undecided. A difference below zero is the machine's other load, not a gain.",
        "",
        "## Figures",
        "",
        *figure_table(measurements, BARE),
        "",
        *_in_proportion(measurements),
    ]
    return "\n".join(lines).rstrip() + "\n"


def added_ms(measurement: Measurement) -> float:
    """Of a speed: what hal0 takes for each second of speech beyond what the library takes; the median of rounds."""
    return median(1000 / ours - 1000 / bare for bare, ours in zip(measurement.bare, measurement.ours, strict=True))


def _in_proportion(measurements: Sequence[Measurement]) -> Iterable[str]:
    if speeds := [one for one in measurements if one.row in AIMS]:
        real_ms = 1000 / REAL_SPEED
        yield "## In proportion"
        yield ""
        yield (
            f"Reckoned, not measured: beside a model that speaks {REAL_SPEED} times as fast as real time, which takes "
            f"{real_ms:.0f} ms for a second of speech, with the same costs of hal0."
        )
        yield ""
        yield line(["Case", "Path", "hal0 adds to a second of speech", "Ratio"])
        yield line(["---", "---", "---:", "---:"])
        for one in speeds:
            added = added_ms(one)
            yield line([one.title, one.path, f"{added:+.2f} ms", f"{real_ms / (real_ms + added):.3f}"])
        yield ""


def write(folder: Path, record: Mapping[str, Any], measurements: Sequence[Measurement]) -> None:
    """`speaking.json` and `speaking.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**record, "measurements": [as_record(one, AIMS) for one in measurements]}
    (folder / f"{NAME}.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / f"{NAME}.md").write_text(markdown(record, measurements))
