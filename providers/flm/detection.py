"""Whether an `flm` finds an NPU on this machine that it can use."""

from pathlib import Path

from providers.base import Command
from providers.flm.asking import LIMIT_S, ask
from providers.flm.validation import parsed_report


def npu_found(program: Path) -> bool:
    """By its own `validate`. A program that cannot tell finds none."""
    try:
        said = ask(Command((str(program), "validate", "--json")), None, LIMIT_S)
    except OSError:
        return False
    report = parsed_report(said.output)
    return report is not None and report.ready
