"""What Ray's raylet is given in place of agents that are not needed."""

import subprocess
import sys
from pathlib import Path

from serve_app.launch.processes import Process, gone_within
from tests.support.server import eventually

COMMAND = ["raylet", "--session_dir=/tmp/ray/session 1", "--node_id=abc", "--dashboard_agent_command=python agent.py"]


def in_a_process(code: str) -> str:
    """Importing Ray's inside is for a process of its own."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout


def test_only_the_agents_that_are_named_are_replaced() -> None:
    code = f"""
from serve_app.launch.ray_node import METRICS, RUNTIME_ENVS, STAND_IN, with_stand_in
command = {COMMAND!r}
for one in command:
    assert with_stand_in(one, (), command) == with_stand_in(one, (RUNTIME_ENVS,), command) == one
*rest, agent = (with_stand_in(one, (METRICS, RUNTIME_ENVS), command) for one in command)
assert rest == command[:3] and STAND_IN.exists() and str(STAND_IN) in agent
print(agent)
"""
    told = in_a_process(code)
    assert told.startswith("--dashboard_agent_command=")
    assert '"/tmp/ray/session 1" abc metrics_agent_port=-1 ' in told and "agent.py" in told


def test_a_stand_in_tells_ports_and_lives_as_long_as_the_raylet(tmp_path: Path) -> None:
    program = Path(__file__).parents[2] / "serve_app" / "launch" / "stand_in_agent.py"
    argv = [sys.executable, "-I", "-S", str(program), str(tmp_path), "abc", "first_port=-1", "second_port=1", "--flag"]
    start = f"import subprocess, sys; print(subprocess.Popen({argv!r}).pid, flush=True); sys.stdin.read()"
    raylet = subprocess.Popen([sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert raylet.stdout is not None
    stand_in = Process.of(int(raylet.stdout.readline()))
    assert stand_in is not None
    eventually("the ports are told", lambda: (tmp_path / "second_port_abc").exists())
    told = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert told == {"first_port_abc": "-1", "second_port_abc": "1"}
    assert not gone_within([stand_in], 0.3)
    raylet.communicate()
    assert gone_within([stand_in], 30)
