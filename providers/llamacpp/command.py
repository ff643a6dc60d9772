"""The argv of llama-server for a slot. Pure. Arguments: llama.cpp's tools/server/README.md."""

import sys

from providers.base import Command, ModelFiles, Placement
from providers.capabilities import Capability
from providers.container import in_container
from providers.devices import Device
from providers.errors import ProviderError
from providers.llamacpp.options import LlamaCppSlot

PROGRAM = "llama-server"
EMBEDDED = ("-m", "providers.llamacpp.embedded")
HTTP_THREADS_PER_REQUEST = 4
LEAST_HTTP_THREADS = 64
"""An open connection occupies a thread of llama.cpp's HTTP server even while it is idle, and threads are cheap."""

DEVICE_KIND: dict[Device, str] = {Device.VULKAN: "Vulkan", Device.ROCM: "ROCm", Device.CUDA: "CUDA"}
"""How llama-server's own names of devices begin."""


def engine_command(slot: LlamaCppSlot, model: ModelFiles, placement: Placement, env_names: tuple[str, ...]) -> Command:
    """`env_names` are the variables that a container must be handed."""
    arguments = engine_arguments(slot, model, placement)
    if slot.options.container is not None:
        command = (PROGRAM, *arguments)
        return in_container(slot.options.container, slot.name, model, placement, command, env_names)
    return Command((*_program(slot, placement), *arguments))


def _program(slot: LlamaCppSlot, placement: Placement) -> tuple[str, ...]:
    """The configured binary, else the one on PATH, else the embedded engine."""
    if slot.options.binary is not None:
        return (slot.options.binary,)
    if (found := placement.programs.get(PROGRAM)) is not None:
        return (str(found),)
    if placement.device is not Device.CPU:
        raise ProviderError(
            f"Device {placement.device} needs a llama-server built for it, and none is on PATH: install one, "
            "name it in options.binary, or set device: cpu for the embedded engine."
        )
    return (sys.executable, *EMBEDDED)


def engine_arguments(slot: LlamaCppSlot, model: ModelFiles, placement: Placement) -> tuple[str, ...]:
    options = slot.options
    http_threads = max(LEAST_HTTP_THREADS, slot.parallel_requests * HTTP_THREADS_PER_REQUEST)
    arguments = [
        *("--model", str(model.main), "--alias", slot.name),
        *("--host", placement.host, "--port", str(placement.port), "--threads-http", str(http_threads)),
        # llama-server shares its context out among its slots; each request of ours may use all of context_size.
        *("--ctx-size", str(slot.context_size * slot.parallel_requests), "--parallel", str(slot.parallel_requests)),
        *("--threads", str(options.threads or placement.cpu_threads)),
        *("--flash-attn", options.flash_attention),
        "--no-webui",
        "--slots",
        *_device_arguments(slot, placement),
        *_kind_arguments(slot),
    ]
    if (mmproj := model.companions.get("mmproj")) is not None:
        arguments += ["--mmproj", str(mmproj)]
    for flag, value in (
        ("--batch-size", options.batch_size or _whole_input(slot)),
        ("--ubatch-size", options.ubatch_size or _whole_input(slot)),
        ("--pooling", options.pooling),
        ("--cache-type-k", options.cache_type_k),
        ("--cache-type-v", options.cache_type_v),
    ):
        if value is not None:
            arguments += [flag, str(value)]
    return (*arguments, *options.extra_args)


def _device_arguments(slot: LlamaCppSlot, placement: Placement) -> tuple[str, ...]:
    if placement.device is Device.CPU:
        return ("--device", "none", "--gpu-layers", "0")
    layers = "999" if slot.options.gpu_layers == "all" else str(slot.options.gpu_layers)
    return ("--device", ",".join(_device_names(slot, placement)), "--gpu-layers", layers)


def _device_names(slot: LlamaCppSlot, placement: Placement) -> tuple[str, ...]:
    """llama-server counts the devices that it may see from 0, and refuses to start without one that is named: a build
    for another kind of device must not run on the CPU instead in silence."""
    count = max(1, len(placement.accelerator_ids))
    kind = DEVICE_KIND[placement.device]
    return slot.options.devices or tuple(f"{kind}{index}" for index in range(count))


def _kind_arguments(slot: LlamaCppSlot) -> tuple[str, ...]:
    if slot.offers(Capability.EMBEDDING):
        return ("--embeddings",)
    return ("--reranking",) if slot.offers(Capability.RERANK) else ("--jinja",)


def _whole_input(slot: LlamaCppSlot) -> int | None:
    """Models that read a text as a whole take it in one physical batch, or refuse it."""
    whole = slot.offers(Capability.EMBEDDING) or slot.offers(Capability.RERANK)
    return slot.context_size if whole else None
