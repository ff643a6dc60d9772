"""`flm serve`: the start, as it is logged, and the listening."""

import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_address

from tests.emulators.flm import faults, settings
from tests.emulators.flm.catalogue import NO_MODEL, Catalogue
from tests.emulators.flm.console import Colour, complain, say
from tests.emulators.flm.faults import Fault
from tests.emulators.flm.handlers import Handlers
from tests.emulators.flm.loaded import ROLES, Loaded
from tests.emulators.flm.npu import Npu
from tests.emulators.flm.options import Arguments
from tests.emulators.flm.sessions import Sessions
from tests.emulators.flm.validation import LOW_MEMLOCK

RESERVED = {
    "asr": ("ASR mode enabled: reserving additional 1GB of memory", 1_000_000_000),
    "embed": ("Embedding mode enabled: reserving additional 300MB of memory", 300_000_000),
}
WORKING_MEMORY = 512 << 20
BACKLOG = 128


def serve(arguments: Arguments, models: Catalogue) -> int:
    """Runs until it is killed; the exit code if it does not come so far."""
    tag = arguments.text("model_tag") or NO_MODEL
    roles = [role for role in ROLES if arguments.on(role)]
    _reserve(roles, tag, models)
    asked = arguments.number("port")
    port = settings.port(asked)
    if arguments.on("preemption"):
        say("FLM", "Allowing high priority tasks to preempt FLM!")
    (settings.base_folder() / "models").mkdir(parents=True, exist_ok=True)
    say("FLM", f"Using {'environment' if asked == -1 else 'user'}-specified port: {port}")
    try:
        # Before the models are loaded: clients can connect, and wait.
        listener = _listen(arguments.text("host"), port)
    except ValueError:
        complain("Error: make_address: Invalid argument [system:22]")
        return 1
    except OSError as error:
        complain(f"Error: bind: {error.strerror} [system:{error.errno}]")
        return 1
    if faults.has(Fault.DRIVER_MISSING) or faults.has(Fault.XRT_MISSING):
        complain("Error: No such device with index '0'")
        return 1
    loaded = Loaded(models, arguments.number("ctx-len"))
    for role in roles:
        loaded.load_role(*ROLES[role])
    if tag != NO_MODEL and not loaded.ensure(tag):
        say("Error", f"Failed to load default model: {tag}")
    say("FLM", f"Starting server on port {port}...")
    handlers = Handlers(loaded, Npu(arguments.number("q-len")), asr="asr" in roles, embed="embed" in roles)
    _accept(listener, Sessions(handlers, cors=arguments.on("cors")), arguments.number("socket"), port)
    return 0


def _reserve(roles: Sequence[str], tag: str, models: Catalogue) -> None:
    for role in roles:
        say("FLM", RESERVED[role][0], Colour.GREEN)
    model = models.find(tag)
    needed = WORKING_MEMORY + sum(RESERVED[role][1] for role in roles) + (model.number("size") if model else 0)
    if faults.has(Fault.MEMLOCK_LOW) and needed > LOW_MEMLOCK:
        say("Linux", f"Warning: could not raise memlock limit to {needed >> 20} MB")


def _listen(host: str, port: int) -> socket.socket:
    """Raises `ValueError` for a host that is no address: names are not looked up."""
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _accept(listener: socket.socket, sessions: Sessions, most: int, port: int) -> None:
    say("FLM", f"WebServer started on port {port} with 10 I/O threads")
    say("FLM", "Press Ctrl+C to stop.")
    while True:
        connection, address = listener.accept()
        if sessions.count >= most:
            say("LOG", f"Connection limit reached ({most}), rejecting new connection")
            connection.close()
            continue
        sessions.begin()
        remote = f"{address[0]}:{address[1]}"
        threading.Thread(target=sessions.run, args=(connection, remote), daemon=True).start()
