"""The embedded engine: xllamacpp's server behind llama-server's arguments, so that `pip` alone gives a working system.

Run as a child process: `python -m providers.llamacpp.embedded --model FILE --port N ...`. Exits with 1 and the engine's
own reason on stderr if it cannot serve. Its key comes in LLAMA_API_KEY.
"""

import os
import signal
import socket
import sys
from typing import Any, NoReturn

from providers.llamacpp.embedded_arguments import Arguments, parse_arguments

FAILED = 1
MAGIC = b"GGUF"


def main() -> None:
    # The engine has nothing to save, and ending its threads in order can block: a signal ends it like a C program.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = parse_arguments(sys.argv[1:])
    refuse_what_cannot_work(arguments)
    tell_progress()
    import xllamacpp  # type: ignore[import-untyped]

    if reason := missing_device(arguments.device, xllamacpp.get_device_info()):
        fail(reason)
    try:
        params = parameters(arguments, xllamacpp)
    except (OverflowError, TypeError, ValueError) as error:
        fail(f"an argument is out of range: {error}")
    try:
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        fail(f"exiting due to model loading error: {error}")
    print(f"embedded engine listens on {server.listening_address}", file=sys.stderr, flush=True)
    while True:
        signal.pause()


def tell_progress() -> None:
    """Have the engine write how far its load is, which it does for a router whose child it takes itself for. As such it
    ends with its stdin, so it is given one that never ends."""
    reader, _ = os.pipe()
    os.dup2(reader, 0)
    os.environ["LLAMA_SERVER_ROUTER_PORT"] = "0"


def fail(reason: str) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    os._exit(FAILED)


def refuse_what_cannot_work(arguments: Arguments) -> None:
    """What the engine itself would report less clearly, or not at all."""
    model = str(arguments.settings.get("model.path", ""))
    try:
        with open(model, "rb") as file:
            magic = file.read(len(MAGIC))
    except OSError as error:
        fail(f"the model file '{model}' cannot be read: {error.strerror}")
    if magic != MAGIC:
        fail(f"the model file '{model}' is not a GGUF file: it begins with {magic!r}")
    port = int(str(arguments.settings.get("port", 0)))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((arguments.host, port))
        except OSError as error:
            fail(f"couldn't bind HTTP server socket, {arguments.host}:{port}: {error.strerror}")


def missing_device(device: str, found: list[dict[str, Any]]) -> str | None:
    """Why this build cannot run on `device` (llama-server's name, such as Vulkan0), if it cannot."""
    names = [str(one["name"]) for one in found]
    if device in ("none", "auto") or device in names:
        return None
    return f"the embedded engine has no device '{device}' (it has {', '.join(names)}): install llama-server for it"


def parameters(arguments: Arguments, engine: Any) -> Any:
    """xllamacpp's parameters; `engine` is its module."""
    params = engine.CommonParams()
    params.fit_params = False
    params.warmup = False
    params.hostnames = [arguments.host]
    params.api_keys = [key for key in os.environ.get("LLAMA_API_KEY", "").split(",") if key]
    if arguments.alias:
        params.model_alias = {arguments.alias}
    for path, value in arguments.settings.items():
        owner, _, name = path.rpartition(".")
        setattr(getattr(params, owner) if owner else params, name, value)
    flash = engine.llama_flash_attn_type
    params.flash_attn_type = getattr(flash, f"LLAMA_FLASH_ATTN_TYPE_{arguments.flash_attention}")
    for name, kind in arguments.cache_types.items():
        setattr(params, name, getattr(engine.ggml_type, f"GGML_TYPE_{kind.upper()}"))
    if arguments.reasoning_format:
        formats = engine.common_reasoning_format
        params.reasoning_format = getattr(formats, f"COMMON_REASONING_FORMAT_{arguments.reasoning_format}")
    pooling = "rank" if arguments.rerank else arguments.pooling
    if pooling:
        params.pooling_type = getattr(engine.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    params.embedding = params.embedding or arguments.rerank
    return params


if __name__ == "__main__":
    main()
