"""A machine of a test's cluster: processes, network, `/tmp/ray` and shared memory of its own.

It is a set of namespaces around one process, which ends when this process does; with it the kernel kills every other
process in them at once, however this one ended.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.cluster_lan import Lan
from tests.support.server import owned_processes

ROOT = Path(__file__).parents[2]
PID = re.compile(r"pid=(\d+)")
LOOPBACK = ("127.", "[::1]", "[::ffff:127.")
FIRST_PROCESS = """
set -e
mount --bind "$1" /tmp/ray
mount -t tmpfs -o size=1g tmpfs /dev/shm
ip link set lo up
echo up
exec >/dev/null
cat
"""
"""It reaps what its children leave behind, as a shell does, until its standard input ends."""


class Machine:
    """Off until `power_on`. `home` is its disk: HAL0_HOME, and what is left of Ray when it has been off."""

    def __init__(self, lan: Lan, name: str, number: int, home: Path, environ: Mapping[str, str]) -> None:
        self.name, self.home, self.address = name, home, lan.address(number)
        self.environ = {**environ, "HAL0_HOME": str(home)}
        self._lan, self._number = lan, number
        self._shell: subprocess.Popen[bytes] | None = None
        self._first = 0
        """Pid of its first process, as this process sees it."""

    def power_on(self) -> None:
        assert self._shell is None
        disk = self.home / "ray"
        disk.mkdir(parents=True, exist_ok=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        namespaces = ["--net", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
        self._shell = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-c", FIRST_PROCESS, "sh", str(disk)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._shell.stdout is not None
        assert self._shell.stdout.readline() == b"up\n", f"machine {self.name} did not start"
        pid = self._shell.pid
        self._first = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        self._lan.plug_in(self._first, self.name, self._number)

    def power_off(self) -> None:
        """Like a power cut: nobody is told."""
        self.cut_off()
        assert self._shell is not None
        # The kernel has killed all others before this is over.
        self._shell.kill()
        self._shell.communicate()
        self._shell = None
        self._lan.unplug(self.name)

    def cut_off(self) -> None:
        self._lan.pull_out(self.name)

    def reconnect(self) -> None:
        self._lan.put_back(self.name)

    def close(self) -> None:
        if self._shell is not None:
            self._shell.kill()
            self._shell.communicate()

    def run(self, *argv: str | Path, timeout_s: float = 60.0) -> str:
        """What a command on this machine prints. Fails with its output if it does."""
        done = subprocess.run(
            self._inside(argv), env=self.environ, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{argv} on {self.name}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def start(self, *argv: str | Path, log: Path) -> "subprocess.Popen[bytes]":
        """A command that goes on until it ends or the machine does."""
        with log.open("wb") as out:
            return subprocess.Popen(
                self._inside(argv), env=self.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    def processes(self, word: str = "") -> list[tuple[int, str]]:
        """Pid, as this process sees it, and command line of all that were started here with `word` in the latter."""
        return [(pid, line) for pid, line in owned_processes(self.home) if word in line and "nsenter" not in line]

    def open_ports(self) -> list[tuple[int, int]]:
        """Port and pid, as this process sees it, of all that listens on TCP beyond loopback."""
        here = ["nsenter", f"--net=/proc/{self._first}/ns/net", "ss", "-tlnpH"]
        rows = subprocess.run(here, check=True, capture_output=True, text=True).stdout.splitlines()
        places = [(row.split()[3].rpartition(":"), PID.findall(row)) for row in rows]
        return [
            (int(port), int(pid)) for (host, _, port), pids in places if not host.startswith(LOOPBACK) for pid in pids
        ]

    def _inside(self, argv: Sequence[str | Path]) -> list[str]:
        here = ["nsenter", f"--target={self._first}", "--net", "--pid", "--mount", f"--wdns={ROOT}", "--"]
        return [*here, *map(str, argv)]


def plain_environment() -> dict[str, str]:
    """This process's own, without what is meant for another Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "HAL0_"))}
