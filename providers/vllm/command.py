"""The argv of `vllm serve` for a slot. Pure. Arguments: https://docs.vllm.ai/en/latest/cli/serve.html."""

import json
from pathlib import Path

from providers.base import Command, ModelFiles, Placement
from providers.capabilities import Capability
from providers.container import in_container
from providers.errors import ProviderError
from providers.vllm.options import GPUS, VllmSlot

PROGRAM = "vllm"
CLI = ("-m", "vllm.entrypoints.cli.main")
ON_RAY = Path(__file__).with_name("ray_executor.py")
"""Runs vLLM's own command line on GPUs that a placement group has reserved."""
INSTALL = "https://docs.vllm.ai/en/latest/getting_started/installation/"
SHARED_MEMORY = ("--ipc", "host")
"""vLLM's processes talk through it, and a container's own has 64 MB."""


def engine_command(slot: VllmSlot, model: ModelFiles, placement: Placement, env_names: tuple[str, ...]) -> Command:
    """`env_names` are the variables that a container must be handed. Raises `ProviderError` if this placement cannot
    run it."""
    _check_gpus(slot, placement)
    arguments = ("serve", *engine_arguments(slot, model, placement))
    container = slot.options.container
    if container is not None:
        wide = container.model_copy(update={"extra_args": (*SHARED_MEMORY, *container.extra_args)})
        return in_container(wide, slot.name, model, placement, (PROGRAM, *arguments), env_names)
    return Command((*program(slot, placement), *arguments))


def program(slot: VllmSlot, placement: Placement) -> tuple[str, ...]:
    """The configured Python or binary, else the one on PATH. Raises `ProviderError` if there is none."""
    options = slot.options
    if options.python is not None:
        return (options.python, str(ON_RAY)) if placement.placement_group else (options.python, *CLI)
    if options.binary is not None:
        return (options.binary,)
    if (found := placement.programs.get(PROGRAM)) is not None:
        return (str(found),)
    raise ProviderError(missing_program())


def missing_program() -> str:
    return (
        f"vLLM is not installed here: no '{PROGRAM}' is on PATH. Install it in a virtual environment of its own "
        f"({INSTALL}; for the CPU: scripts/vllm-venv DIR) and name its Python in options.python, or name an image in "
        "options.container."
    )


def _check_gpus(slot: VllmSlot, placement: Placement) -> None:
    """vLLM itself would wait for ever, or take GPUs that are not the slot's."""
    if slot.stages > 1:
        if not (placement.placement_group and placement.cluster_address):
            raise ProviderError(
                f"options.pipeline_parallel: {slot.options.pipeline_parallel} needs GPUs that a placement group has "
                "reserved, and this replica has none."
            )
        return
    assigned, wanted = len(placement.accelerator_ids), slot.tensor_parallel
    if placement.device in GPUS and assigned and assigned < wanted:
        raise ProviderError(f"options.tensor_parallel: {wanted} needs as many GPUs, and {assigned} are assigned.")


def engine_arguments(slot: VllmSlot, model: ModelFiles, placement: Placement) -> tuple[str, ...]:
    options = slot.options
    return (
        str(model.main),
        *("--host", placement.host, "--port", str(placement.port)),
        # It answers with the first, whichever was asked for. The model's source is a name of its slot, too.
        *("--served-model-name", *dict.fromkeys((*slot.own_names, slot.model))),
        *("--max-model-len", str(slot.context_size), "--max-num-seqs", str(slot.parallel_requests)),
        *("--dtype", options.dtype),
        "--disable-uvicorn-access-log",
        *_kind_arguments(slot),
        *_parallel_arguments(slot),
        *_given("--quantization", options.quantization),
        *_given("--gpu-memory-utilization", options.gpu_memory_utilization),
        *_given("--kv-cache-dtype", options.kv_cache_dtype),
        *_switched("enable-prefix-caching", options.prefix_caching),
        *_switched("enable-chunked-prefill", options.chunked_prefill),
        *(("--enforce-eager",) if options.enforce_eager else ()),
        *_given("--speculative-config", None if options.speculative is None else json.dumps(dict(options.speculative))),
        *_given("--chat-template", options.chat_template),
        *_tool_arguments(slot),
        *_given("--reasoning-parser", options.reasoning_parser),
        *_adapter_arguments(slot, model),
        *(("--enable-sleep-mode",) if options.sleep_when_idle else ()),
        *options.extra_args,
    )


def _kind_arguments(slot: VllmSlot) -> tuple[str, ...]:
    if slot.offers(Capability.EMBEDDING):
        return ("--runner", "pooling", "--convert", "embed")
    return ("--runner", "pooling" if slot.offers(Capability.RERANK) else "generate")


def _parallel_arguments(slot: VllmSlot) -> tuple[str, ...]:
    tensor = ("--tensor-parallel-size", str(slot.tensor_parallel))
    if slot.stages == 1:
        return tensor
    stages = str(slot.options.pipeline_parallel)
    return (*tensor, "--pipeline-parallel-size", stages, "--distributed-executor-backend", "ray")


def _tool_arguments(slot: VllmSlot) -> tuple[str, ...]:
    parser = slot.options.tool_call_parser
    return () if parser is None else ("--enable-auto-tool-choice", "--tool-call-parser", parser)


def _adapter_arguments(slot: VllmSlot, model: ModelFiles) -> tuple[str, ...]:
    if not model.companions:
        return ()
    # JSON, since a path may hold what the short form divides by.
    adapters = [json.dumps({"name": name, "path": str(path)}) for name, path in sorted(model.companions.items())]
    return (
        *("--enable-lora", "--max-loras", str(len(adapters)), "--max-lora-rank", str(slot.options.max_lora_rank)),
        *("--lora-modules", *adapters),
    )


def _given(flag: str, value: object | None) -> tuple[str, ...]:
    return () if value is None else (flag, str(value))


def _switched(name: str, on: bool | None) -> tuple[str, ...]:
    return () if on is None else (f"--{name}" if on else f"--no-{name}",)
