"""`python -m benchmarks`: what the way through hal0 costs, measured on this machine."""

import datetime
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import click

from benchmarks import plots
from benchmarks.bare import AGAIN, BareAgain, BareEngines
from benchmarks.cases import CASES, METRICS, Case, runs_on
from benchmarks.load import LoadError
from benchmarks.peers import LITELLM, NAIVE, SLOTS, LiteLLM, NaiveServe
from benchmarks.report import Measurement, markdown, result_text, write
from benchmarks.rounds import FULL, QUICK, Effort, Figures, round_of, warm_up
from benchmarks.router import ROUTER, Router
from benchmarks.servers import HAPROXY, PLAIN, UP, Hal0
from benchmarks.sides import Side
from benchmarks.slots import find_llama_server, make_slots
from benchmarks.voice_slots import make_voice_slots, tones

RESULTS = Path(__file__).with_name("results")
CASE_NAMES = [case.name for case in CASES]
PATH_NAMES = (AGAIN, UP, ROUTER, PLAIN, HAPROXY, NAIVE, LITELLM)
"""In this order: what matters most is measured before anything can go wrong."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="A short round of each case: to see that all of it works.")
@click.option("--cases", multiple=True, type=click.Choice(CASE_NAMES), help="Only this case; can be repeated.")
@click.option("--paths", multiple=True, type=click.Choice(PATH_NAMES), help="Only this path; can be repeated.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True)
def main(quick: bool, cases: tuple[str, ...], paths: tuple[str, ...], out: Path) -> None:
    """Measure hal0, and what else can stand before an engine, against the bare engine."""
    # What has been started is stopped, too, when a time limit ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    effort = QUICK if quick else FULL
    chosen = [case for case in CASES if not cases or case.name in cases]
    record = _record(quick, effort)
    measurements: list[Measurement] = []
    # A short name: a Unix socket's path inside has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hal0-", ignore_cleanup_errors=True) as name:
        bench = Bench(Path(name), effort)
        with bench.bare.running():
            for path in paths or PATH_NAMES:
                of_path = [case for case in chosen if runs_on(case, path)]
                if (side := bench.side(path)) is None or not of_path:
                    continue
                measurements += bench.measured(side, of_path)
                # Minutes of measuring should not be lost to a path that fails later.
                _keep(out, record | {"failed": bench.failed}, in_order(measurements))
    click.echo(markdown(record | {"failed": bench.failed}, in_order(measurements), ()))
    sys.exit(1 if bench.failed else 0)


class Bench:
    """The bare engines, and the sides that are compared with them; all that they write is in `folder`."""

    def __init__(self, folder: Path, effort: Effort) -> None:
        self._folder, self._effort = folder, effort
        self._llama_server = find_llama_server()
        self._slots = make_slots(folder, self._llama_server)
        self._voices = make_voice_slots(folder / "models")
        self._sound = tones(folder / "models")
        self.bare = BareEngines(self._slots, self._voices, folder)
        self.failed: list[str] = []

    def side(self, path: str) -> Side | None:
        """None for a router where there is no llama-server."""
        home = self._folder / f"home{PATH_NAMES.index(path)}"
        if path == AGAIN:
            return BareAgain(self.bare)
        if path == ROUTER:
            return Router(self._llama_server, self._slots, self._folder) if self._llama_server else None
        if path in (LITELLM, NAIVE):
            engines = {slot: self.bare.address(slot) for slot in SLOTS}
            return LiteLLM(engines, home) if path == LITELLM else NaiveServe(engines, home)
        return Hal0(path, [*self._slots, *self._voices], home)

    def measured(self, side: Side, cases: Sequence[Case]) -> list[Measurement]:
        """What fails, be it one case or the start of the side, is told of, and left out."""
        found: list[Measurement] = []
        click.echo(f"{side.name}: starting", err=True)
        try:
            with side.running():
                for case in cases:
                    for clients in case.clients:
                        try:
                            found += self._of_case(side, case, clients)
                        except (LoadError, OSError, HTTPException) as error:
                            self._fail(f"{side.name}: {case.name}, {clients} clients", error)
        except (RuntimeError, OSError, CalledProcessError) as error:
            self._fail(f"{side.name}: start", error)
        return found

    def _fail(self, what: str, error: Exception) -> None:
        self.failed.append(f"{what}: {type(error).__name__}: {error}"[:500])
        click.echo(f"FAILED: {what}: {type(error).__name__}: {error}", err=True)

    def _of_case(self, side: Side, case: Case, clients: int) -> Iterator[Measurement]:
        for one in measurements_of(case, side.name, clients, self._compared(side, case, clients)):
            shown = f"{one.case}, {clients} clients, {one.metric}: {result_text(one)}"
            click.echo(f"{side.name}: {shown}", err=True)
            yield one

    def _compared(self, side: Side, case: Case, clients: int) -> list[tuple[Figures, Figures]]:
        """The bare engine and the path take turns."""
        warm_up(side, case, self._sound)

        def figures(one: Side, number: int) -> Figures:
            return round_of(one, case, clients, self._effort, number, self._sound)

        rounds = range(self._effort.rounds_of(case.measure))
        return [(figures(self.bare, number), figures(side, number)) for number in rounds]


def in_order(measurements: Sequence[Measurement]) -> list[Measurement]:
    """By case: a path that is measured early need not have the first ones."""
    return sorted(measurements, key=lambda one: CASE_NAMES.index(one.case))


def measurements_of(
    case: Case, path: str, clients: int, rounds: Sequence[tuple[Figures, Figures]]
) -> Iterator[Measurement]:
    for metric, (unit, comparison) in METRICS[case.measure].items():
        yield Measurement(
            case=case.name,
            title=case.title,
            clients=clients,
            metric=metric,
            unit=unit,
            comparison=comparison,
            path=path,
            bare=tuple(bare[metric] for bare, _ in rounds),
            ours=tuple(own[metric] for _, own in rounds),
        )


def _keep(out: Path, record: Mapping[str, Any], measurements: Sequence[Measurement]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    machine = {**record["machine"], "load average at the end": round(os.getloadavg()[0], 1)}
    pictures: tuple[str, ...] = ()
    try:
        pictures = plots.draw(out, measurements)
    except ModuleNotFoundError as error:
        click.echo(f"no pictures: {error}", err=True)
    write(out, {**record, "machine": machine}, measurements, pictures)


def _record(quick: bool, effort: Effort) -> dict[str, Any]:
    embedded = f"embedded engine, xllamacpp {version('xllamacpp')}"
    return {
        "date": datetime.date.today().isoformat(),
        "quick": quick,
        "rounds": effort.rounds,
        "cold starts": effort.cold_starts,
        "swaps": effort.swaps,
        "machine": {
            "cores": os.cpu_count(),
            "load average at the start": round(os.getloadavg()[0], 1),
            "system": f"{platform.system()} {platform.machine()}",
            "Python": platform.python_version(),
            "Ray": version("ray"),
            "engine": "llama-server" if find_llama_server() is not None else embedded,
        },
    }


if __name__ == "__main__":
    main()
