"""The commands of `flm`: what each prints, and the exit code."""

import json
import shutil
from collections.abc import Callable, Sequence

from tests.emulators.flm import faults, folder, settings
from tests.emulators.flm.catalogue import NO_MODEL, Catalogue, Model, catalogue
from tests.emulators.flm.console import complain, say, write
from tests.emulators.flm.faults import Fault
from tests.emulators.flm.help_text import USAGE
from tests.emulators.flm.options import Arguments, BadArguments, parse
from tests.emulators.flm.pulling import pull
from tests.emulators.flm.serving import serve
from tests.emulators.flm.validation import validate

FILTERS = ("all", "installed", "not-installed")
POWER_MODES = ("default", "powersaver", "balanced", "performance", "turbo")
WITH_MODEL = ("run", "pull", "remove", "check")
ONLY_SERVE = {
    "socket": "Max socket connections is only required for serve command! ",
    "q-len": "Max npu queue length is only required for serve command! ",
    "port": "The port number option is only supported with the serve command! ",
    "cors": "The cors option is only supported with the serve command! ",
}
CANNOT_TELL = 2
"""The exit code for what is wrong with the emulator's own variables, which no code of the real program is."""


def main(argv: Sequence[str]) -> int:
    try:
        faults.check()
        arguments = parse(argv, settings.numbers(settings.version()))
    except faults.UnknownFault as error:
        complain(f"emulator: {error}")
        return CANNOT_TELL
    except BadArguments as error:
        complain(f"Error parsing arguments: {error}")
        return 1
    if arguments.on("help") or arguments.text("command") == "help":
        write(USAGE)
        return 1
    if arguments.on("version"):
        write(f"FLM v{settings.version()}\n")
        return 1
    if (problem := _problem(arguments)) is not None:
        complain(problem)
        return 1
    return _run(arguments)


def _problem(arguments: Arguments) -> str | None:
    """What is wrong with options that can be read."""
    command = arguments.text("command")
    if not command:
        return "Error: Command is required"
    if command in ("version", "port", "list", "bench", "validate"):
        return None
    if command != "serve":
        for option, text in ONLY_SERVE.items():
            if option in arguments.given:
                return f"Error: {text}"
    mode = arguments.text("pmode")
    if command in ("run", "serve") and mode not in POWER_MODES:
        return f"Error: Invalid power mode '{mode}'\nValid power modes: {', '.join(POWER_MODES)}"
    if command in WITH_MODEL and not arguments.text("model_tag"):
        return f"Error: Model tag is required for command '{command}'"
    return None


def _run(arguments: Arguments) -> int:
    if (file := settings.catalogue_file()) is not None:
        complain(f"[FLM]  Using custom model list path: {file}")
    command, tag, models = arguments.text("command"), arguments.text("model_tag"), catalogue()
    model = models.find(tag)
    if command in ("serve", "run", "bench", *WITH_MODEL) and tag not in ("", NO_MODEL) and model is None:
        say("ERROR", f"Model not found: {tag}; Please check with `flm list` and try again.")
        return 1
    if command == "serve":
        return serve(arguments, models)
    if model is not None and command in ON_MODELS:
        return ON_MODELS[command](model, arguments)
    if command in WITHOUT_MODEL:
        return WITHOUT_MODEL[command](models, arguments)
    if command in ("run", "bench"):
        complain(f"emulator: `flm {command}` is not emulated")
        return CANNOT_TELL
    complain(f"Invalid command: {command}\nUse --help for usage information")
    return 1


def _pull(model: Model, arguments: Arguments) -> int:
    force = arguments.on("force")
    if not force and folder.is_installed(model):
        say("FLM", "Model is already downloaded.")
        say("FLM", "All required files are present.")
    elif not pull(model, force):
        say("ERROR", f"Failed to pull model: {arguments.text('model_tag')}")
        return 1
    return 0


def _remove(model: Model, arguments: Arguments) -> int:
    path = folder.path(model)
    if not path.is_dir():
        say("FLM", f"Model directory does not exist: {path}")
        return 0
    say("FLM", f"Removing model: {arguments.text('model_tag')}")
    say("FLM", f"Path: {path}")
    count = len(list(path.iterdir()))
    shutil.rmtree(path)
    say("FLM", f"Successfully removed {count} files and model directory.")
    return 0


def _check(model: Model, _arguments: Arguments) -> int:
    say("FLM", f"Checking model: {model.tag}...\n")
    if not folder.is_installed(model):
        say("FLM", f"Model not exist or not compatible: {model.tag}")
        say("FLM", f"Please use `flm pull {model.tag}` to download the model.")
    elif folder.clean(model):
        say("FLM", "Model check completed successfully. All files are present and compatible.")
    else:
        again = f"Please use `flm pull {model.tag}` to re-download corrupted files."
        say("FLM", f"Model check completed with errors. {again}")
    return 0


def _list(models: Catalogue, arguments: Arguments) -> int:
    wanted, as_json = arguments.text("filter"), arguments.on("json")
    if wanted not in FILTERS:
        say("Error", "Invalid filter: please use 'all', 'installed', or 'not-installed'")
        return 1
    if faults.has(Fault.LIST_WARNING):
        say("WARNING", "emulator: something is said before the list")
    quiet = as_json or arguments.on("quiet")
    state = [(model, folder.is_installed(model, quiet, fast=True)) for model in models.all]
    rows = [(model, here) for model, here in state if wanted == "all" or (wanted == "installed") == here]
    if as_json:
        entries = [model.entry | {"name": model.tag, "model": model.tag, "installed": here} for model, here in rows]
        write(json.dumps({"models": entries}, indent=4, sort_keys=True, ensure_ascii=False) + "\n")
        return 0
    ticks = ("", "") if arguments.on("quiet") else (" ⏬", " ✅")
    lines = [f"  - {model.tag}{ticks[here]}" for model, here in rows]
    write("\n".join(["Models:", *(lines or ["  No models found for the specified filter."])]) + "\n")
    return 0


def _version(_models: Catalogue, arguments: Arguments) -> int:
    version = settings.version()
    write(f'{{ "version": "{version}" }}\n' if arguments.on("json") else f"FLM v{version}\n")
    return 0


def _port(_models: Catalogue, arguments: Arguments) -> int:
    port = settings.port(arguments.number("port"))
    write(f'{{ "port": {port} }}\n' if arguments.on("json") else f"Server Port: {port}\n")
    return 0


def _validate(_models: Catalogue, arguments: Arguments) -> int:
    return validate(arguments.on("json"))


ON_MODELS: dict[str, Callable[[Model, Arguments], int]] = {"pull": _pull, "remove": _remove, "check": _check}
WITHOUT_MODEL: dict[str, Callable[[Catalogue, Arguments], int]] = {
    "list": _list,
    "version": _version,
    "port": _port,
    "validate": _validate,
}
