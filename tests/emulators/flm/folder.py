"""The models on the disk, and whether they are whole."""

import hashlib
import json
from pathlib import Path

from tests.emulators.flm import faults, settings
from tests.emulators.flm.catalogue import Model
from tests.emulators.flm.console import complain, say
from tests.emulators.flm.crash import end
from tests.emulators.flm.faults import Fault

WEIGHTS_BYTES = 1 << 16
EMPTY_ANSWER = (
    "[json.exception.parse_error.101] parse error at line 1, column 1: syntax error while parsing value - "
    "unexpected end of input; expected '[', '{', or a literal"
)


class Unreachable(Exception):
    """The site answered nothing; the message is that of the JSON parser, which got it."""


def path(model: Model) -> Path:
    return settings.base_folder() / "models" / model.name


def missing(model: Model) -> list[str]:
    return [file for file in model.files if not (path(model) / file).is_file()]


def present(model: Model) -> list[str]:
    return [file for file in model.files if (path(model) / file).is_file()]


def contents(model: Model, file: str) -> bytes:
    """What the site has. Weights are much smaller than what is said of them."""
    if file.endswith(".q4nx"):
        seed = hashlib.sha256(f"{model.tag}/{file}".encode()).digest()
        return seed * (WEIGHTS_BYTES // len(seed))
    return json.dumps({"flm_version": settings.version()} if file == "config.json" else {}).encode()


def megabytes(model: Model, file: str) -> float:
    """As it is said: of 2^20 bytes."""
    return model.number("size") / (1 << 20) if file.endswith(".q4nx") else 0.01


def is_whole(model: Model, file: str) -> bool:
    local = path(model) / file
    return local.is_file() and local.read_bytes() == contents(model, file)


def is_installed(model: Model, quiet: bool = False, fast: bool = False) -> bool:
    """All files are there, and the version of the model suits the program's.

    A model that is too new ends the program with 0, unless `quiet`; one that is too old loses its files, unless `fast`.
    """
    if (path(model) / "config.json").is_file() and not _suits(model, quiet):
        if not fast:
            clean(model, quiet)
        return False
    return not missing(model)


def _suits(model: Model, quiet: bool) -> bool:
    config = json.loads((path(model) / "config.json").read_text())
    local = str(config.get("flm_version", "0.0.0"))
    if settings.numbers(local) > settings.numbers(settings.version()) and not quiet:
        say("WARNING", f"Local model version: {local} > {settings.version()}")
        say("WARNING", "This model may not be compatible with the current FLM version.")
        say("WARNING", "Please update FLM to the latest version.")
        end(0)
    needed = str(model.entry.get("flm_min_version", "0.0.0"))
    if settings.numbers(local) >= settings.numbers(needed):
        return True
    if not quiet:
        say("FLM", f"Local model {model.tag} version: {local} < {needed}")
        say("FLM", f"Model {model.tag} is not compatible with the current FLM version. ")
    return False


def ask_site() -> None:
    """Raises `Unreachable`."""
    if faults.has(Fault.OFFLINE):
        complain("CURL error: Could not resolve hostname")
        raise Unreachable(EMPTY_ANSWER)


def clean(model: Model, quiet: bool = False) -> bool:
    """Removes files that are not what the site has; whether there were none."""
    try:
        ask_site()
    except Unreachable as error:
        say("ERROR", f"Exception during file verification: {error}")
        return False
    verdicts = [_verify(model, file, quiet) for file in model.files]
    return all(verdicts)


def _verify(model: Model, file: str, quiet: bool) -> bool:
    lines = [f"Checking file: {file}..."]
    good = is_whole(model, file)
    if not (path(model) / file).is_file():
        say("FLM", f"File missing: {file}")
        return False
    if not good:
        (path(model) / file).unlink()
        lines += ["Fail!", f"Removing corrupted file: {file}...", f"Successfully removed {file}!"]
    for line in [] if quiet else [*lines, *(["Success!"] if good else [])]:
        say("FLM", line)
    return good
