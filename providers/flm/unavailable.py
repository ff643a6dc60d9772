"""Why a model of FastFlowLM cannot be had, and what to do about it."""

import errno
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from providers.base import Command
from providers.flm.asking import Answer, cannot_run
from providers.flm.listing import close_tags
from providers.flm.options import FlmSlot
from providers.flm.pull_output import PullOutput
from providers.pulling import ModelUnavailable

SAID_CHARACTERS = 400
FULL = (errno.ENOSPC, errno.EDQUOT)


def unknown(tag: str, known: Iterable[str]) -> ModelUnavailable:
    close = close_tags(tag, known)
    meant = f" Close to it: {', '.join(close)}." if close else ""
    return ModelUnavailable(
        "model_unknown",
        f"This flm knows no model '{tag}'.{meant} `flm list` shows all; a newer flm knows more.",
    )


def no_program(slot: FlmSlot, command: Command, error: OSError) -> ModelUnavailable:
    return ModelUnavailable("flm_missing", cannot_run(slot, command, error))


def no_listing(said: Answer, unreadable: Iterable[Path]) -> ModelUnavailable:
    """`unreadable`: what may have kept the program from it."""
    broken = ", ".join(map(str, unreadable))
    if broken:
        return ModelUnavailable(
            "flm_failed", f"`flm list` failed, probably on files of which only a part is here: remove {broken}."
        )
    words = (said.errors + said.output).strip()[-SAID_CHARACTERS:] or "nothing"
    return ModelUnavailable("flm_failed", f"`flm list --json` ended with {said.code} and no list, and said: {words}")


def offline(tag: str) -> ModelUnavailable:
    return ModelUnavailable(
        "offline",
        f"flm cannot reach the site that has '{tag}', and no whole copy of it is on this node. Check the network, and "
        "try again; what has come stays.",
    )


def not_pulled(tag: str, output: PullOutput) -> ModelUnavailable:
    if output.too_new:
        return ModelUnavailable(
            "model_too_new",
            f"The files of '{tag}' on this node were made for a newer flm ({output.too_new}): update flm, or remove "
            f"them (`flm remove {tag}`) and try again.",
        )
    if output.without_room:
        return ModelUnavailable(
            "disk_full", f"flm could not write all of '{tag}' ({output.reason}): make room, and try again."
        )
    if output.without_network:
        return offline(tag)
    reason = output.reason.rstrip(".! ") or "it did not say why"
    return ModelUnavailable(
        "pull_failed",
        f"flm could not pull '{tag}': {reason}. Try again; what has come stays.",
    )


def misplaced(tag: str, folder: Path) -> ModelUnavailable:
    return ModelUnavailable(
        "model_missing",
        f"flm says that '{tag}' is installed, but its files are not all in {folder}. Set FLM_MODEL_PATH in options.env "
        "to the folder that holds flm's `models`.",
    )


def stalled(tag: str, seconds: float) -> ModelUnavailable:
    return ModelUnavailable(
        "pull_timeout",
        f"Nothing of '{tag}' came for {seconds:g} s. Check the network, and try again; what has come stays.",
    )


def unwritable(error: OSError) -> ModelUnavailable:
    if error.errno in FULL:
        return ModelUnavailable("disk_full", f"The disk is full: {error}. Make room, and try again.")
    return ModelUnavailable("store_unwritable", f"What is known of flm's models cannot be written down: {error}.")


def require_writable(folder: Path) -> None:
    """The folder is made, as flm would. Raises `ModelUnavailable` where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in FULL:
            raise unwritable(error) from error
        raise ModelUnavailable(
            "store_unwritable",
            f"flm's models cannot be written to {folder}: {error.strerror or error}. Make that folder writable, or "
            "name another one by FLM_MODEL_PATH, in the environment or in options.env.",
        ) from error


def require_room(tag: str, folder: Path, needed: int) -> None:
    """Raises `ModelUnavailable` where so many bytes do not fit."""
    existing = next(one for one in (folder, *folder.parents) if one.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ModelUnavailable(
            "disk_full",
            f"'{tag}' needs {needed / 2**30:.1f} GiB more, but only {free / 2**30:.1f} GiB are free at {existing}. "
            "Make room, or name another folder by FLM_MODEL_PATH in options.env.",
        )
