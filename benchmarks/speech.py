"""`python -m benchmarks.speech`: what hal0 costs speech to text, against the same libraries called directly."""

import datetime
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.report import Measurement, result_text
from benchmarks.servers import Hal0
from benchmarks.speech_cases import (
    AIMS,
    CASES,
    FULL,
    METRICS,
    MOONSHINE,
    PATHS,
    QUICK,
    Case,
    Figures,
    Measure,
    Plan,
    Speaker,
    make_slots,
    measured,
    warm_up,
)
from benchmarks.speech_client import hear
from benchmarks.speech_direct import Direct
from benchmarks.speech_memory import replica, resident
from benchmarks.speech_report import BARE, Guessed, Weighed, markdown, write
from benchmarks.speech_runs import Effort
from benchmarks.speech_sounds import make_sounds

RESULTS = Path(__file__).with_name("results")
INGRESS = "ingress"
LIBRARIES = ("moonshine-voice", "faster-whisper", "ctranslate2", "onnxruntime", "av")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Few short rounds of each case: to see that all of it works.")
@click.option("--cases", multiple=True, type=click.Choice([case.name for case in CASES]), help="Can be repeated.")
@click.option("--paths", multiple=True, type=click.Choice(PATHS), help="Can be repeated.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True)
def main(quick: bool, cases: tuple[str, ...], paths: tuple[str, ...], out: Path) -> None:
    """Measure hal0 against Moonshine and faster-whisper called directly, on tiny models made here."""
    plan = QUICK if quick else FULL
    load = os.getloadavg()[0]
    # A short name: a Unix socket's path inside has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hal0-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        bench = Bench(Path(name), plan, stack)
        for index, path in enumerate(paths or PATHS):
            hal0 = Hal0(path, bench.slots, bench.folder / f"home{index}")
            with hal0.running():
                bench.measure(
                    hal0, bench.folder / f"home{index}", [one for one in CASES if not cases or one.name in cases]
                )
            # Minutes of measuring should not be lost to a path that fails later.
            record = _record(quick, plan, load)
            write(out, record, bench.measurements, bench.weighed, bench.guessed)
        click.echo(markdown(record, bench.measurements, bench.weighed, bench.guessed))


class Bench:
    """What all paths share, and what has been found. The libraries run until `stack` ends."""

    def __init__(self, folder: Path, plan: Plan, stack: ExitStack) -> None:
        self.folder, self._plan = folder, plan
        self.slots = make_slots(folder / "models")
        self._sounds = make_sounds(folder / "sounds", plan.long_s)
        self._speaker = Speaker(folder / "sounds", plan.live_s)
        self._directs = {slot["name"]: Direct(slot, folder) for slot in self.slots}
        self.measurements: list[Measurement] = []
        self.weighed: list[Weighed] = []
        self._guesses: dict[str, list[Figures]] = {}
        for name, direct in self._directs.items():
            stack.enter_context(direct.running())
            direct.hear(self._sounds.short, Effort())
            self._weigh(name, BARE, "idle", direct.pid)

    @property
    def guessed(self) -> list[Guessed]:
        return [
            Guessed(
                case=case.title,
                guess=median(one["guess"] for one in self._guesses[case.name]),
                agreed=median(one["word"] for one in self._guesses[case.name]),
            )
            for case in CASES
            if case.name in self._guesses
        ]

    def measure(self, hal0: Hal0, home: Path, cases: Sequence[Case]) -> None:
        address = hal0.address(MOONSHINE)
        warm_up(self.slots, address, self._sounds)
        self._weigh_all(hal0.name, home, "idle", [slot["name"] for slot in self.slots])
        hear(address, MOONSHINE, self._sounds.long_wav, Effort())
        self._weigh_all(hal0.name, home, "after the long WAV", [MOONSHINE])
        for case in cases:
            rounds = measured(case, self._directs[case.slot], address, self._sounds, self._speaker, self._plan)
            if case.measure is Measure.LIVE:
                self._guesses.setdefault(case.name, []).extend(bare for bare, _ in rounds)
            for one in _measurements(case, hal0.name, rounds):
                self.measurements.append(one)
                shown = f"{one.title}, {one.clients} clients, {one.metric}: {result_text(one, AIMS)}"
                click.echo(f"{hal0.name}: {shown}", err=True)
        self._weigh_all(hal0.name, home, "at the end", [slot["name"] for slot in self.slots])

    def _weigh_all(self, side: str, home: Path, moment: str, slots: Sequence[str]) -> None:
        for name in (INGRESS, *slots):
            self._weigh(name, side, moment, replica(home, name))

    def _weigh(self, process: str, side: str, moment: str, pid: int) -> None:
        self.weighed.append(Weighed(process=process, side=side, moment=moment, resident=resident(pid)))


def _measurements(case: Case, path: str, rounds: Sequence[tuple[Figures, Figures]]) -> Iterator[Measurement]:
    for metric, (unit, comparison) in METRICS[case.measure].items():
        yield Measurement(
            case=case.name,
            title=case.title,
            clients=case.clients,
            metric=metric,
            unit=unit,
            comparison=comparison,
            path=path,
            bare=tuple(bare[metric] for bare, _ in rounds),
            ours=tuple(ours[metric] for _, ours in rounds),
        )


def _record(quick: bool, plan: Plan, load: float) -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(),
        "quick": quick,
        "rounds": plan.rounds,
        "live_rounds": plan.live_rounds,
        "long_s": plan.long_s,
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
