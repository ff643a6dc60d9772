"""From figures of speech to text to what people read. Pure, but for `write`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import (
    Measurement,
    as_record,
    figure_table,
    line,
    result_table,
)
from benchmarks.speech_cases import AIMS
from benchmarks.speech_memory import Resident
from providers.spec import Frozen

BARE = "Library directly"
NAME = "speech"


class Weighed(Frozen):
    """`process` as people call it, on which side it belongs, and when it was weighed."""

    process: str
    side: str
    moment: str
    resident: Resident


class Guessed(Frozen):
    """Milliseconds, medians of rounds of the library alone: from a word's end to the first guess that has it, and to
    where two guesses agree on it."""

    case: str
    guess: float
    agreed: float


def markdown(
    record: Mapping[str, Any],
    measurements: Sequence[Measurement],
    weighed: Sequence[Weighed],
    guessed: Sequence[Guessed],
) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    command = f"python -m benchmarks.speech{' --quick' if record['quick'] else ''}"
    lines = [
        "# What hal0 costs speech to text",
        "",
        f"Measured {record['date']} by `{command}`: {machine}.",
        "Every round measures the library called directly, in one process with one loaded model, and then hal0, each "
        "alone: the same file is decoded, its speech found with the same settings and recognized. Both sides must hear "
        "the same text. Cells are medians over "
        f"{record['rounds']} rounds ({record['live_rounds']} of live sessions), with intervals as in README.md here. "
        "The client shares the machine with all of it.",
        "",
        "The models are tiny: they recognize hundreds of seconds of sound in one, where a real model on a CPU manages "
        "five to fifty. So hal0's fixed costs look as large here as they ever can. Tiny models hear tones; of real "
        "speech Moonshine's hears nothing and Whisper's what it always hears, but finding it is real work.",
        "",
        "## Against the library",
        "",
        f"Ratios of rates (1.00 is the library), and milliseconds added. A long file has {record['long_s']:g} s. "
        "`word`: from the chunk of 100 ms that completes a word to the delta that shows it while the utterance goes "
        "on; `final`: from the chunk that ends the last word to the final text, without the silence that must follow.",
        "",
        *result_table(measurements, AIMS),
        "",
        "An aim within the interval is undecided. A difference below zero is the machine's other load, not a gain.",
        "",
        "## Figures",
        "",
        *figure_table(measurements, BARE),
        "",
        *_guesses(guessed),
        "## Memory",
        "",
        "Resident MiB, shared pages included: now, and the most since the process began.",
        "",
        *_memory(weighed),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _guesses(guessed: Sequence[Guessed]) -> Iterable[str]:
    """Why a word is shown as late as it is, on both sides."""
    if guessed:
        yield "A delta has only words on which two guesses agree, since it cannot be taken back. Of the library alone:"
        yield ""
        yield line(["Case", "First guess that has a word", "Two guesses agree"])
        yield line(["---", "---:", "---:"])
        for one in guessed:
            yield line([one.case, f"{one.guess:.0f} ms", f"{one.agreed:.0f} ms"])
        yield ""


def _memory(weighed: Sequence[Weighed]) -> Iterable[str]:
    yield line(["Process", "Side", "When", "Now", "Most"])
    yield line(["---", "---", "---", "---:", "---:"])
    for one in weighed:
        figures = (f"{one.resident.now:.0f}", f"{one.resident.most:.0f}")
        yield line([one.process, one.side, one.moment, *figures])


def write(
    folder: Path,
    record: Mapping[str, Any],
    measurements: Sequence[Measurement],
    weighed: Sequence[Weighed],
    guessed: Sequence[Guessed],
) -> None:
    """`speech.json` and `speech.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {
        **record,
        "measurements": [as_record(one, AIMS) for one in measurements],
        "memory": [one.model_dump() for one in weighed],
        "guesses": [one.model_dump() for one in guessed],
    }
    (folder / f"{NAME}.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / f"{NAME}.md").write_text(markdown(record, measurements, weighed, guessed))
