"""What `flm help` prints. The wording of the options is Boost's; only their names are kept here."""

from tests.emulators.flm.options import OPTIONS, POSITIONS

COMMANDS = {
    "run <model_tag>": "Run the model interactively",
    "serve <model_tag>": "Start the  server",
    "pull <model_tag>": "Download model files if not present",
    "remove <model_tag>": "Remove a model",
    "check <model_tag>": "Check a model",
    "list": "List all available models",
    "version": "Show version information",
    "help": "Show this help message",
    "port": "Show the default server port",
    "validate": "Validate the NPU stack",
}
USAGE = "\n".join(
    [
        "Usage: flm <command> [options] [model_tag]",
        "",
        "Commands:",
        *(f"  {command:<19} - {text}" for command, text in COMMANDS.items()),
        "",
        "Allowed options:",
        *(
            f"  {f'-{option.short} [ --{option.name} ]' if option.short else f'--{option.name}'}"
            for option in OPTIONS
            if option.name not in POSITIONS
        ),
        "",
    ]
)
