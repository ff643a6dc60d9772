"""`python -m benchmarks.hot_path`: what each part of the ingress costs for one short request, in CPU time.

The ingress's own parts without Ray, in one process, before an engine that answers at once. CPU time tells more than
rates here: it does not change with what else the machine does. Rounds go through all variants in turn.
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click

from benchmarks.engines import HOST, free_port, wait_for
from benchmarks.hot_path_servers import VARIANTS
from benchmarks.load import Address, load

RESULTS = Path(__file__).with_name("results")
UPSTREAM = Path(__file__).with_name("upstream.py")
PATH = "/v1/chat/completions"
BODY = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
CLIENTS, SECONDS, START_S = 16, 2.0, 30.0
SUPPORTED_BY = {"aiohttp": "aiohttp", "httpx": "httpx", "pyreqwest": "pyreqwest"}


@contextmanager
def started(*argv: str, port: int) -> Iterator[int]:
    """A Python program that listens on `port`; its pid."""
    popen = subprocess.Popen([sys.executable, *argv], stdout=subprocess.DEVNULL)
    try:
        wait_for(f"{argv[-1]} listens", lambda: listens(port), START_S, 0.05)
        yield popen.pid
    finally:
        popen.terminate()
        popen.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def cpu_s(pid: int) -> float:
    """All that the process has spent so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost_us(variant: str, upstream: int) -> float:
    """CPU microseconds for one request."""
    port = free_port()
    with started("-m", "benchmarks.hot_path_servers", variant, str(port), str(upstream), port=port) as pid:
        address = Address(HOST, port, "")
        load(address, PATH, BODY, CLIENTS, 0.5)
        before = cpu_s(pid)
        seen = load(address, PATH, BODY, CLIENTS, SECONDS)
        spent = cpu_s(pid) - before
    # The load generator settles before it counts; those requests cost the same.
    return spent / (seen.requests * (SECONDS + 0.3) / SECONDS) * 1e6


def table(figures: dict[str, list[float]]) -> Sequence[str]:
    lines = ["| what | CPU us per request, median (least to greatest) |", "|---|---:|"]
    for name, values in figures.items():
        shown = f"{median(values):.0f} ({min(values):.0f} to {max(values):.0f})"
        lines.append(f"| {VARIANTS[name]} | {shown} |")
    return lines


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=5, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True)
def main(rounds: int, out: Path) -> None:
    """Measure every variant."""
    here = [name for name in VARIANTS if importlib.util.find_spec(SUPPORTED_BY.get(name, "json"))]
    figures: dict[str, list[float]] = {name: [] for name in here}
    upstream = free_port()
    with tempfile.TemporaryDirectory(), started("-P", str(UPSTREAM), "--port", str(upstream), port=upstream):
        for _ in range(rounds):
            for name in here:
                figures[name].append(cost_us(name, upstream))
    text = "\n".join(["# What a short request costs in the ingress", "", *table(figures), ""])
    out.mkdir(parents=True, exist_ok=True)
    (out / "hot_path.md").write_text(text)
    (out / "hot_path.json").write_text(json.dumps({"rounds": rounds, "cpu_us": figures}, indent=1) + "\n")
    click.echo(text)


if __name__ == "__main__":
    main()
