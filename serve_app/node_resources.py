"""The command `hal0 node-resources`: what this machine's Ray node should declare, and the environment for it.

`ray start --resources="$(hal0 node-resources)"` on each node, after `eval "$(hal0 node-resources --env)"`.
"""

import json
import os
import shlex
from collections.abc import Mapping

import click

from serve_app.launch.environment import FAST_PATH, LOST_NODES
from serve_app.shell import RESOURCES

NODE = FAST_PATH | LOST_NODES
"""What Ray must have in its environment when it starts on a node."""


NOTHING = "neither a GPU nor an NPU: slots run on the CPU, which Ray counts itself"


@click.command("node-resources")
@click.option("--resources", type=RESOURCES, default={}, help="What to declare beside what is found, or otherwise.")
@click.option("--hardware", is_flag=True, help="Though no engine on PATH can use it: for engines in containers.")
@click.option("--explain", is_flag=True, help="Tell on stderr what was found, and what was left out and why.")
@click.option("--env", "environment", is_flag=True, help="Print instead what `ray start` needs in its environment.")
def node_resources(resources: Mapping[str, float], hardware: bool, explain: bool, environment: bool) -> None:
    """Print what this machine's Ray node should declare, as one line of JSON for `ray start --resources`."""
    if environment:
        for line in exports(os.environ):
            click.echo(line)
        return
    from serve_app.hardware.declaration import declare, lines, shown
    from serve_app.hardware.survey import survey

    seen = survey()
    made = declare(seen, whatever_engines=hardware)
    if explain:
        found = tuple(lines(seen.hardware)) or (NOTHING,)
        told = {"found": found, "declared": made.reasons, "left out": made.left_out}
        for kind, texts in told.items():
            for text in texts:
                click.echo(f"{kind:10}{text}", err=True)
    click.echo(json.dumps(shown({**made.resources, **resources})))


def exports(environ: Mapping[str, str]) -> list[str]:
    """Lines for a shell. What it has set already wins."""
    return [f"export {name}={shlex.quote(value)}" for name, value in NODE.items() if name not in environ]
