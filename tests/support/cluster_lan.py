"""A switch with a cable to this process and one to each machine of a test's cluster.

The switch is a bridge in a network namespace of its own, and a cable a pair of virtual interfaces: the kernel removes
all of them with the namespace, and that goes with the one process in it, which ends when this one does.
"""

import json
import os
import subprocess

OWN_NUMBER = 1
PORT_TO_TESTS = "tests"
BRIDGE = "switch"


class Lan:
    """Machines have the addresses `address(2)` and up; this process has `address(1)`."""

    def __init__(self) -> None:
        self._prefix = _free_prefix()
        self._switch = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def address(self, number: int) -> str:
        return f"{self._prefix}.{number}"

    def plug_in(self, pid: int, port: str, number: int) -> None:
        """Gives the network namespace of process `pid` an interface that answers at `address(number)`."""
        self._lay_cable(port, f"eth0 netns {pid}", number)
        in_namespace(
            pid,
            f"addr add {self.address(number)}/24 dev eth0",
            "link set eth0 up",
            # What asks for "my address" gets the one that leads here.
            f"route add default via {self.address(OWN_NUMBER)}",
        )

    def pull_out(self, port: str) -> None:
        """Neither end learns anything of the other any more, not even that it is gone."""
        in_namespace(self._switch.pid, f"link set {port} down")

    def put_back(self, port: str) -> None:
        in_namespace(self._switch.pid, f"link set {port} up")

    def unplug(self, port: str) -> None:
        """The cable of a machine that is gone: what its connections had to send may keep its end alive."""
        in_namespace(self._switch.pid, f"link del {port}")

    def close(self) -> None:
        self._switch.kill()
        self._switch.communicate()

    def _build(self) -> None:
        assert self._switch.stdin is not None and self._switch.stdout is not None
        # What comes back shows that the process has its namespace.
        self._switch.stdin.write(b"\n")
        self._switch.stdout.read(1)
        in_namespace(self._switch.pid, f"link add {BRIDGE} type bridge", f"link set {BRIDGE} up")
        own = f"hal0t{os.getpid()}"
        self._lay_cable(PORT_TO_TESTS, f"{own} netns {os.getpid()}", OWN_NUMBER)
        ip(f"addr add {self.address(OWN_NUMBER)}/24 dev {own}", f"link set {own} up")

    def _lay_cable(self, port: str, far_end: str, number: int) -> None:
        # A machine that comes back has the hardware address that it had: its neighbours remember that.
        hardware = "02:00:" + ":".join(f"{int(part):02x}" for part in self.address(number).split("."))
        ip(f"link add {port} netns {self._switch.pid} type veth peer name {far_end} address {hardware}")
        in_namespace(self._switch.pid, f"link set {port} master {BRIDGE} up")


def ip(*commands: str) -> None:
    _batch(["ip"], commands)


def in_namespace(pid: int, *commands: str) -> None:
    """`ip` in the network namespace of a process."""
    _batch(["nsenter", f"--net=/proc/{pid}/ns/net", "ip"], commands)


def why_not() -> str | None:
    """None if this process may make namespaces and interfaces; else the reason."""
    try:
        subprocess.run(
            ["unshare", "--net", "--pid", "--mount", "--fork", "ip", "link", "add", "probe", "type", "bridge"],
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    except subprocess.CalledProcessError as error:
        return f"namespaces are not permitted here: {error.stderr.strip()}"
    return None


def _batch(argv: list[str], commands: tuple[str, ...]) -> None:
    done = subprocess.run([*argv, "-batch", "-"], input="\n".join(commands), capture_output=True, text=True)
    assert done.returncode == 0, f"{commands}: {done.stderr}"


def _free_prefix() -> str:
    """The first three parts of a private address that no other route of this machine leads to."""
    routes = json.loads(subprocess.run(["ip", "-json", "route"], check=True, capture_output=True).stdout)
    taken = {route["dst"].rpartition(".")[0] for route in routes}
    start = os.getpid()
    prefixes = (f"10.{64 + number // 256 % 64}.{number % 256}" for number in range(start, start + 64 * 256))
    return next(prefix for prefix in prefixes if prefix not in taken)
