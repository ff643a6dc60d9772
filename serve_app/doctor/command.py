"""The command `hal0 doctor`."""

import asyncio
import json
import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from serve_app.config import ConfigError
from serve_app.doctor.machine import Machine, this_machine
from serve_app.settings import load_settings
from serve_app.shell import refuse

if TYPE_CHECKING:
    from serve_app.doctor.npu import Examination

DEFAULT_MODEL = "qwen3:0.6b"
INTERRUPTED = 128 + signal.SIGINT


@click.command("doctor")
@click.option("--npu", is_flag=True, help="Load models on the NPU, and ask them; exit status 0 only if all is well.")
@click.option("--model", show_default=DEFAULT_MODEL, help="With --npu: the chat model, as flm names it.")
@click.option("--pull", is_flag=True, help="With --npu: fetch models that are missing; about 2 GB.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def doctor(npu: bool, model: str | None, pull: bool, as_json: bool) -> None:
    """Tell what this machine has, or try its NPU."""
    given = {"--model": model is not None, "--pull": pull}
    if not npu and any(given.values()):
        refuse(f"{name} is for the NPU: add --npu, or leave it out" for name in given if given[name])
    machine = this_machine()
    if not npu:
        click.echo(json.dumps(_record(machine)) if as_json else "\n".join(machine.lines()))
        return
    try:
        found = _examined(model or DEFAULT_MODEL, pull, quiet=as_json)
    except ConfigError as error:
        refuse(error.problems)
    except KeyboardInterrupt:
        click.echo("stopped; no engine is left", err=True)
        sys.exit(INTERRUPTED)
    _tell(machine, found, as_json)
    sys.exit(0 if found.checks.passed else 1)


def _examined(model: str, pull: bool, quiet: bool) -> "Examination":
    from serve_app.doctor.checklist import Checklist
    from serve_app.doctor.npu import Examination, slot_of

    checks = Checklist((lambda _line: None) if quiet else click.echo)
    found = Examination(slot_of(model), load_settings(), checks, pull)
    asyncio.run(found.run())
    return found


def _tell(machine: Machine, found: "Examination", as_json: bool) -> None:
    from serve_app.doctor.paste import report

    if as_json:
        click.echo(json.dumps(_record(machine) | {"npu": _npu_record(found)}))
        return
    click.echo("\nPaste this into a report:\n")
    click.echo(report(machine, found))


def _record(machine: Machine) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(json.dumps(asdict(machine), default=str))
    return record


def _npu_record(found: "Examination") -> dict[str, Any]:
    return {
        "passed": found.checks.passed,
        "model": found.slot.model,
        "version": found.version,
        "report": found.report.model_dump() if found.report else None,
        "checks": [asdict(one) for one in found.checks.made],
        "figures": found.figures,
        "last_lines": found.last_lines,
    }
