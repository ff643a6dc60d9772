"""`python -m benchmarks.memory`: what hal0 takes of the machine's memory, process by process."""

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from benchmarks import speaking_client, speech_client
from benchmarks.load import Address, first_byte_s
from benchmarks.processes import OTHER, Memory, family_of, memory
from benchmarks.report import line
from benchmarks.servers import UP, WAYS, Hal0
from benchmarks.slots import CHAT, SlotRecord, find_llama_server, make_slots
from benchmarks.speech_runs import Effort
from benchmarks.voice_slots import HEARING, SPEAKING, make_voice_slots, tones
from serve_app.audio.encode import Format

RESULTS = Path(__file__).with_name("results")
SETTLE_S = 4.0
"""Until workers that were started ahead are there, and what was loaded has come to rest."""
LOAD_TIMEOUT_S = 60.0
ROUTE = "/v1/chat/completions"
NOTHING = Memory(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Weighed:
    """All processes of one role at one moment."""

    moment: str
    role: str
    count: int
    memory: Memory


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", type=click.Path(path_type=Path), help="Weigh the hal0 that runs with this HAL0_HOME.")
@click.option("--path", "way", type=click.Choice(list(WAYS)), default=UP, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="All figures, by moment and role.")
@click.option("--others", is_flag=True, help="Tell the command lines of processes that have no role.")
@click.option("--keep", is_flag=True, help="Write memory.json and memory.md beside the other results.")
def main(home: Path | None, way: str, as_json: bool, others: bool, keep: bool) -> None:
    """Start hal0 and weigh it with no slot loaded, then with one slot after the other."""
    found = weigh("now", home, others) if home is not None else weigh_all(way, others)
    records, lines = [asdict(one) for one in found], list(table(found))
    click.echo(json.dumps(records, indent=1) if as_json else "\n".join(lines))
    if keep:
        (RESULTS / "memory.json").write_text(json.dumps({"path": way, "weighed": records}, indent=1) + "\n")
        (RESULTS / "memory.md").write_text(
            "\n".join(["# What hal0 takes of the memory", "", f"By {way}.", "", *lines, ""])
        )


def weigh_all(way: str, others: bool) -> list[Weighed]:
    with tempfile.TemporaryDirectory(prefix="hal0-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        chat = next(slot for slot in make_slots(folder, find_llama_server()) if slot["name"] == CHAT)
        slots: Sequence[SlotRecord] = [chat, *make_voice_slots(folder / "models")]
        hal0 = Hal0(way, slots, folder / "home")
        with hal0.running():
            return weigh_running(hal0.address(CHAT), folder / "home", tones(folder / "models"), others)


def weigh_running(address: Address, home: Path, sound: Path, others: bool) -> list[Weighed]:
    """None of its slots must be loaded."""
    loads: dict[str, Callable[[], object]] = {
        "no slot": lambda: None,
        "a chat": lambda: first_byte_s(address, ROUTE, {"model": CHAT, "messages": MESSAGES}, LOAD_TIMEOUT_S),
        "and one that hears": lambda: speech_client.hear(address, HEARING, sound, Effort()),
        "and one that speaks": lambda: speaking_client.speak(address, SPOKEN, Effort()),
    }
    found = []
    for moment, load in loads.items():
        load()
        time.sleep(SETTLE_S)
        found += weigh(moment, home, others)
    return found


MESSAGES = [{"role": "user", "content": "Hello"}]
SPOKEN = speaking_client.request_of(SPEAKING, "af_heart", "Hello.", Format.PCM)


def weigh(moment: str, home: Path, others: bool) -> list[Weighed]:
    by_role: dict[str, list[Memory]] = {}
    for one in family_of(home):
        if others and one.role in (OTHER, "other Ray worker"):
            click.echo(f"{moment}: {one.pid} of {one.parent}: {one.title[:300]}", err=True)
        # It may have ended meanwhile.
        with contextlib.suppress(OSError):
            by_role.setdefault(one.role, []).append(memory(one.pid))
    return [Weighed(moment, role, len(all_), total(all_)) for role, all_ in sorted(by_role.items())]


def total(memories: Iterable[Memory]) -> Memory:
    all_ = list(memories)
    return Memory(sum(one.pss for one in all_), sum(one.rss for one in all_), sum(one.uss for one in all_))


def table(found: Sequence[Weighed]) -> Iterable[str]:
    """PSS in MiB, with the last moment's RSS and USS; a column a moment, a row a role."""
    moments = list(dict.fromkeys(one.moment for one in found))
    cells = {(one.role, one.moment): one for one in found}
    yield line(["Processes, PSS in MiB", *moments, "RSS", "USS"])
    yield line(["---", *("---:" for _ in moments), "---:", "---:"])
    for role in dict.fromkeys(one.role for one in found):
        of_role = [cells.get((role, moment)) for moment in moments]
        last = [one for one in of_role if one is not None][-1]
        yield line([role, *(_cell(one) for one in of_role), f"{last.memory.rss:.0f}", f"{last.memory.uss:.0f}"])
    sums = [total(one.memory for one in found if one.moment == moment) for moment in moments]
    whole = [f"{one.pss:.0f}" for one in sums]
    yield line(["**All**", *whole, f"{sums[-1].rss:.0f}", f"{sums[-1].uss:.0f}"])


def _cell(weighed: Weighed | None) -> str:
    if weighed is None:
        return ""
    return f"{weighed.memory.pss:.1f}" + (f" (of {weighed.count})" if weighed.count > 1 else "")


if __name__ == "__main__":
    main()
