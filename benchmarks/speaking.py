"""`python -m benchmarks.speaking`: what hal0 costs text to speech, against `kokoro-onnx` called directly."""

import datetime
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from benchmarks.report import Measurement, result_text
from benchmarks.servers import Hal0
from benchmarks.speaking_cases import (
    AIMS,
    CASES,
    FULL,
    METRICS,
    PATHS,
    QUICK,
    SLOT,
    Case,
    Plan,
    make_slot,
    measured,
    warm_up,
)
from benchmarks.speaking_direct import Direct
from benchmarks.speaking_report import markdown, write

RESULTS = Path(__file__).with_name("results")
LIBRARIES = ("kokoro-onnx", "onnxruntime", "av")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Few short rounds of each case: to see that all of it works.")
@click.option("--cases", multiple=True, type=click.Choice([case.name for case in CASES]), help="Can be repeated.")
@click.option("--paths", multiple=True, type=click.Choice(PATHS), help="Can be repeated.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True)
def main(quick: bool, cases: tuple[str, ...], paths: tuple[str, ...], out: Path) -> None:
    """Measure hal0 against Kokoro called directly, on a tiny model made here."""
    plan = QUICK if quick else FULL
    load = os.getloadavg()[0]
    chosen = [case for case in CASES if not cases or case.name in cases]
    measurements: list[Measurement] = []
    # A short name: a Unix socket's path inside has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hal0-", ignore_cleanup_errors=True) as name:
        slot = make_slot(Path(name, "models"))
        direct = Direct(slot)
        with direct.running():
            for index, path in enumerate(paths or PATHS):
                hal0 = Hal0(path, [slot], Path(name, f"home{index}"))
                with hal0.running():
                    warm_up(hal0.address(SLOT))
                    for case in chosen:
                        measurements.append(_measurement(case, hal0, direct, plan))
                # Minutes of measuring should not be lost to a path that fails later.
                record = _record(quick, plan, load)
                write(out, record, measurements)
    click.echo(markdown(record, measurements))


def _measurement(case: Case, hal0: Hal0, direct: Direct, plan: Plan) -> Measurement:
    rounds = measured(case, direct, hal0.address(SLOT), plan)
    metric, unit, comparison = METRICS[case.measure]
    found = Measurement(
        case=case.name,
        title=case.title,
        clients=case.clients,
        metric=metric,
        unit=unit,
        comparison=comparison,
        path=hal0.name,
        bare=tuple(bare for bare, _ in rounds),
        ours=tuple(ours for _, ours in rounds),
    )
    click.echo(f"{found.path}: {found.title}, {found.clients} clients: {result_text(found, AIMS)}", err=True)
    return found


def _record(quick: bool, plan: Plan, load: float) -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(),
        "quick": quick,
        "rounds": plan.rounds,
        "machine": {
            "cores": os.cpu_count(),
            "load average at the start": round(load, 1),
            "load average at the end": round(os.getloadavg()[0], 1),
            "system": f"{platform.system()} {platform.machine()}",
            "Python": platform.python_version(),
            "Ray": version("ray"),
            **{name: version(name) for name in LIBRARIES},
        },
    }


if __name__ == "__main__":
    main()
