"""What to paste into a report: markdown without anything secret in it. Pure but for the home folder's name."""

from pathlib import Path

from serve_app.doctor.checklist import Check
from serve_app.doctor.machine import Machine
from serve_app.doctor.npu import Examination


def report(machine: Machine, found: Examination) -> str:
    parts = [
        f"### hal0 doctor --npu: {'passed' if found.checks.passed else 'not passed'}",
        _block([*machine.lines(), f"{'model':14}{found.slot.model}", *_figures(found)]),
        "\n".join(["| check | verdict | s | |", "|---|---|---|---|", *map(_row, found.checks.made)]),
    ]
    if found.report is not None:
        parts.append(_block([found.report.model_dump_json()]))
    if found.last_lines:
        parts.append(_block(list(found.last_lines)))
    return without_home("\n\n".join(parts))


def without_home(text: str) -> str:
    """The user's name is in its path, mostly."""
    home = str(Path.home())
    return text.replace(home, "~") if home != "/" else text


def _row(one: Check) -> str:
    seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
    return f"| {one.name} | {one.verdict.value} | {seconds} | {_cell(one.detail)} |"


def _figures(found: Examination) -> list[str]:
    return [f"{name:14}{words}" for name, words in found.figures.items()]


def _block(lines: list[str]) -> str:
    return "\n".join(["```", *(line.replace("```", "'''") for line in lines), "```"])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
