"""`python -m benchmarks`: what the way through hal0 costs, measured on this machine."""

import datetime
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import click

from benchmarks import plots
from benchmarks.cases import CASES, FULL, METRICS, QUICK, Case, Effort, bare_round, path_round, warm_up
from benchmarks.cases import Path as EnginePath
from benchmarks.engines import BareEngines, Router, running
from benchmarks.report import Measurement, markdown, result_text, write
from benchmarks.servers import SWITCHES, Hal0
from benchmarks.slots import SlotRecord, find_llama_server, make_slots

RESULTS = Path(__file__).with_name("results")
CASE_NAMES = [case.name for case in CASES]
PATH_NAMES = [Router.name, *SWITCHES]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Two short rounds of each case: to see that all of it works.")
@click.option("--cases", multiple=True, type=click.Choice(CASE_NAMES), help="Only this case; can be repeated.")
@click.option("--paths", multiple=True, type=click.Choice(PATH_NAMES), help="Only this path; can be repeated.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True)
def main(quick: bool, cases: tuple[str, ...], paths: tuple[str, ...], out: Path) -> None:
    """Measure hal0, and llama-server's router where there is one, against the bare engine."""
    effort = QUICK if quick else FULL
    chosen = [case for case in CASES if not cases or case.name in cases]
    llama_server = find_llama_server()
    record = _record(quick, effort, llama_server)
    measurements: list[Measurement] = []
    # A short name: a Unix socket's path inside has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hal0-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        slots = make_slots(folder, llama_server)
        bare = BareEngines(slots, folder)
        with running(bare):
            for path in _paths(slots, folder, llama_server):
                if not paths or path.name in paths:
                    measurements += _measured(path, bare, chosen, effort)
                    # Minutes of measuring should not be lost to a path that fails later.
                    _keep(out, record, measurements)
    click.echo(markdown(record, measurements, ()))


def _keep(out: Path, record: Mapping[str, object], measurements: Sequence[Measurement]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    pictures: tuple[str, ...] = ()
    try:
        pictures = plots.draw(out, measurements)
    except ModuleNotFoundError as error:
        click.echo(f"no pictures: {error}", err=True)
    write(out, record, measurements, pictures)


def _paths(slots: Sequence[SlotRecord], folder: Path, llama_server: Path | None) -> Iterator[EnginePath]:
    if llama_server is not None:
        yield Router(llama_server, slots, folder)
    for index, name in enumerate(SWITCHES):
        yield Hal0(name, slots, folder / f"home{index}")


def _measured(path: EnginePath, bare: BareEngines, cases: Sequence[Case], effort: Effort) -> list[Measurement]:
    found: list[Measurement] = []
    click.echo(f"{path.name}: starting", err=True)
    with path.running():
        for case in cases:
            if not path.offers(case.slot):
                continue
            warm_up(path, case)
            for clients in case.clients:
                of_case = _compared(path, bare, case, clients, effort)
                for one in of_case:
                    shown = f"{one.case}, {clients} clients, {one.metric}: {result_text(one)}"
                    click.echo(f"{path.name}: {shown}", err=True)
                found += of_case
    return found


def _compared(path: EnginePath, bare: BareEngines, case: Case, clients: int, effort: Effort) -> list[Measurement]:
    """The bare engine and the path take turns."""
    rounds = [
        (bare_round(bare, case, clients, effort), path_round(path, case, clients, effort)) for _ in range(effort.rounds)
    ]
    return [
        Measurement(
            case=case.name,
            title=case.title,
            clients=clients,
            metric=metric,
            unit=unit,
            comparison=comparison,
            path=path.name,
            bare=tuple(base[metric] for base, _ in rounds),
            ours=tuple(own[metric] for _, own in rounds),
        )
        for metric, (unit, comparison) in METRICS[case.measure].items()
    ]


def _record(quick: bool, effort: Effort, llama_server: Path | None) -> dict[str, object]:
    engine = "llama-server" if llama_server is not None else f"embedded engine, xllamacpp {version('xllamacpp')}"
    return {
        "date": datetime.date.today().isoformat(),
        "quick": quick,
        "rounds": effort.rounds,
        "machine": {
            "cores": os.cpu_count(),
            "load average at the start": round(os.getloadavg()[0], 1),
            "system": f"{platform.system()} {platform.machine()}",
            "Python": platform.python_version(),
            "Ray": version("ray"),
            "engine": engine,
        },
    }


if __name__ == "__main__":
    main()
