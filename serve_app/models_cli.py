"""`hal0 pull` and `hal0 models`: the store from a shell."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import click

from providers.pulling import ModelUnavailable, PullCancelled
from providers.spec import SlotSpec
from serve_app.config import ConfigError, load_config_file
from serve_app.models.bar import Bar
from serve_app.models.in_use import Use, still, uses
from serve_app.models.inventory import NotRemovable, Stored, stored
from serve_app.models.removal import remove
from serve_app.models.sizes import shown_bytes
from serve_app.models.store import ModelStore, sources_of
from serve_app.settings import load_settings
from serve_app.shell import DEFAULT_CONFIG, refuse

INTERRUPTED = 128 + signal.SIGINT


@click.command("pull")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("slots", nargs=-1, metavar="[SLOT]...")
def pull(config: Path, slots: tuple[str, ...]) -> None:
    """Pull the models of CONFIG ahead, or those of some of its SLOTs."""
    chosen = _chosen(_slots(config), slots, config)
    store = ModelStore(load_settings().models_dir)
    with _interrupt() as cancelled:
        results = [_pull(store, slot, cancelled) for slot in chosen]
    sys.exit(0 if all(results) else 1)


@click.group("models", invoke_without_command=True)
@click.option("--config", type=click.Path(path_type=Path), help="Whose slots to show; default configs/hal0.yaml.")
@click.pass_context
def models(context: click.Context, config: Path | None) -> None:
    """List the models on this machine: where they came from, their size, and which slots name and use them."""
    if context.invoked_subcommand is not None:
        return
    if config is None and DEFAULT_CONFIG.exists():
        config = DEFAULT_CONFIG
    slots = _slots(config) if config else ()
    settings = load_settings()
    with still(settings.run_dir):
        live = uses(settings.run_dir)
    store = ModelStore(settings.models_dir)
    rows = [_row(one, store, slots, live) for one in stored(settings.models_dir)]
    if not rows:
        click.echo("no models are stored here")
        return
    _table([("SOURCE", "SIZE", "SLOTS", "IN USE"), *rows])


@models.command("rm")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
def rm(sources: tuple[str, ...]) -> None:
    """Remove stored models by SOURCE, as `hal0 models` lists them; parts of unfinished pulls, too."""
    settings, failed = load_settings(), False
    for source in sources:
        try:
            freed = remove(source, settings.models_dir, settings.run_dir)
        except NotRemovable as error:
            click.echo(f"error: {error}", err=True)
            failed = True
        else:
            click.echo(f"removed {source} ({shown_bytes(freed)})")
    sys.exit(1 if failed else 0)


def _pull(store: ModelStore, slot: SlotSpec, cancelled: Event) -> bool:
    """Whether the slot's files are here now."""
    bar = Bar(slot.name)
    if store.present(slot):
        bar.end("is there already")
        return True
    try:
        store.fetch(slot, bar.show, cancelled)
    except ModelUnavailable as error:
        bar.end(f"failed: {error.code}: {error.message}")
        return False
    except PullCancelled:
        bar.end("interrupted. What has come is kept: the same command goes on from there.")
        sys.exit(INTERRUPTED)
    bar.end("is there now")
    return True


@contextmanager
def _interrupt() -> Iterator[Event]:
    """Set by Ctrl-C, so that a pull ends in order."""
    cancelled = Event()
    before = signal.signal(signal.SIGINT, lambda *_: cancelled.set())
    try:
        yield cancelled
    finally:
        signal.signal(signal.SIGINT, before)


def _slots(config: Path) -> tuple[SlotSpec, ...]:
    try:
        return load_config_file(config).serving.slots
    except ConfigError as error:
        refuse(error.problems)


def _chosen(slots: Sequence[SlotSpec], names: Sequence[str], config: Path) -> list[SlotSpec]:
    known = {slot.name: slot for slot in slots}
    allowed = ", ".join(known)
    if unknown := [f"{config} has no slot '{name}'; allowed: {allowed}" for name in names if name not in known]:
        refuse(unknown)
    return [known[name] for name in dict.fromkeys(names or known)]


def _row(one: Stored, store: ModelStore, slots: Sequence[SlotSpec], live: Sequence[Use]) -> tuple[str, ...]:
    size = shown_bytes(one.size)
    if one.partial:
        size = f"partial: {size} of {shown_bytes(one.total) if one.total is not None else 'unknown'}"
    naming = [slot.name for slot in slots if any(_names(source, one, store) for source in sources_of(slot))]
    using = sorted({use.slot for use in live if use.reads(one.path)})
    return one.source, size, ", ".join(naming) or "-", ", ".join(using) or "-"


def _names(source: str, one: Stored, store: ModelStore) -> bool:
    if one.belongs_to(source):
        return True
    try:
        path = store.place(source).local()
    except ModelUnavailable:
        return False
    return path is not None and (path == one.path or path in one.path.parents)


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
