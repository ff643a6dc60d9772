"""From figures of text to speech to what people read. Pure, but for `write`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Measurement, as_record, figure_table, result_table
from benchmarks.speaking_cases import AIMS

BARE = "kokoro-onnx directly"
NAME = "speaking"


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
        f"over {record['rounds']} rounds, with the least and the greatest. The client shares the machine with all of "
        "it.",
        "",
        "The model is tiny: its graph takes less time for a sentence than espeak-ng takes to find the phonemes. "
        "Kokoro itself speaks two to ten times as fast as real time on a CPU, hundreds of times slower than this. So "
        "hal0's fixed costs look as large here as they ever can.",
        "",
        "## Against the library",
        "",
        "Ratios of rates (1.00 is the library), and milliseconds added. Speed is reckoned with the seconds that the "
        "library speaks, on both sides.",
        "",
        *result_table(measurements, AIMS),
        "",
        "A verdict goes by the median alone. A difference below zero is the machine's other load, not a gain.",
        "",
        *_undecided(measurements),
        "## Figures",
        "",
        *figure_table(measurements, BARE),
    ]
    return "\n".join(lines) + "\n"


def undecided(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Those with an aim that lies between their rounds: the machine was too busy to tell."""
    found = []
    for one in measurements:
        aim = AIMS.get(one.row, {}).get(one.path)
        if aim is not None and one.result.low < aim < one.result.high:
            found.append(one)
    return found


def _undecided(measurements: Sequence[Measurement]) -> Iterable[str]:
    if found := undecided(measurements):
        yield "Undecided, since some rounds met the aim and some missed it:"
        yield ""
        yield from (f"- {one.title}, {one.path}" for one in found)
        yield ""


def write(folder: Path, record: Mapping[str, Any], measurements: Sequence[Measurement]) -> None:
    """`speaking.json` and `speaking.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**record, "measurements": [as_record(one, AIMS) for one in measurements]}
    (folder / f"{NAME}.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / f"{NAME}.md").write_text(markdown(record, measurements))
