"""The `hal0` command."""

import json
import sys
import time
from pathlib import Path

import click

from serve_app.config import ConfigError, load_config_file
from serve_app.doctor.command import doctor
from serve_app.models_cli import models, pull
from serve_app.node_resources import node_resources
from serve_app.settings import load_settings
from serve_app.shell import DEFAULT_CONFIG, NOT_RUNNING, RESOURCES, refuse


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Every kind of model behind one OpenAI-compatible address, on Ray Serve."""


main.add_command(pull)
main.add_command(models)
main.add_command(doctor)
main.add_command(node_resources)


@main.command()
@click.argument("config", type=click.Path(path_type=Path), default=DEFAULT_CONFIG)
@click.option("--resources", type=RESOURCES, default={}, help="What `hal0 up` would be told of this machine.")
@click.option("--cluster", is_flag=True, help="Other machines may hold the slots: do not ask whether this one can.")
def check(config: Path, resources: dict[str, float], cluster: bool) -> None:
    """Check CONFIG without starting anything."""
    from serve_app.fit_check import IN_A_FILE, require_fit, this_machine, wants_of
    from serve_app.machine import found_resources
    from serve_app.want import in_words

    try:
        file = load_config_file(config)
        here = [this_machine({**found_resources(), **resources})]
        wants = wants_of(file.serving, here, load_settings().models_dir)
        require_fit(file.serving, wants, [] if cluster else here, IN_A_FILE)
    except ConfigError as error:
        refuse(error.problems)
    slots = file.serving.slots
    click.echo(f"{config} is valid: {len(slots)} slots on {file.host}:{file.port}")
    for slot, want in zip(slots, wants, strict=True):
        click.echo(f"  {slot.name:16} {slot.provider:12} {slot.device:8} {', '.join(slot.capabilities)}")
        click.echo(f"  {'':16} {in_words(want)}")


@main.command()
@click.argument("config", type=click.Path(path_type=Path), default=DEFAULT_CONFIG)
@click.option("--resources", type=RESOURCES, default={}, help="What to declare of this machine beside what is found.")
@click.option("--dashboard", is_flag=True, help="Ray's own, on http://127.0.0.1:8265, with what it needs.")
@click.option("--verbose", is_flag=True, help="Print all that Ray, Serve and their workers write.")
def up(config: Path, resources: dict[str, float], dashboard: bool, verbose: bool) -> None:
    """Serve CONFIG in the foreground until Ctrl-C."""
    from serve_app.launch.up_run import UpOptions
    from serve_app.launcher import up as run

    try:
        sys.exit(run(config, UpOptions(resources, dashboard, verbose)))
    except ConfigError as error:
        refuse(error.problems)


@main.command()
@click.option("--port", type=int, help="Only the one on this port.")
def down(port: int | None) -> None:
    """Stop the `hal0 up` that is running, and put away what a killed one has left."""
    from serve_app.launch.down import Ambiguous
    from serve_app.launch.down import down as stop
    from serve_app.launch.record import RunFolder

    try:
        for line in stop(RunFolder(load_settings().run_dir), port):
            click.echo(line)
    except Ambiguous as error:
        refuse([str(error)])


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """What runs, and how its slots stand. Exit code 3: nothing runs."""
    from serve_app.launch.record import RunFolder
    from serve_app.launch.status import ask, lines

    settings = load_settings()
    found = [ask(record, settings) for record in RunFolder(settings.run_dir).records() if record.runs]
    if as_json:
        click.echo(json.dumps([one.shown() for one in found], indent=2))
    elif not found:
        click.echo("hal0 is not running.")
    for one in [] if as_json else found:
        for line in lines(one, time.time()):
            click.echo(line)
    sys.exit(0 if found else NOT_RUNNING)


@main.command("demo-models")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
def demo_models(folder: Path | None) -> None:
    """Make the tiny models of configs/demo.yaml."""
    from providers.tiny import ToolsMissing, make_demo_models

    try:
        models = make_demo_models(folder or load_settings().models_dir / "demo")
    except (ToolsMissing, OSError) as error:
        refuse([str(error)])
    for path in models.values():
        click.echo(path)
