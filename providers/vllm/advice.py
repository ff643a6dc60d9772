"""What to do about a start of `vllm serve` that failed, by what it wrote. Pure. Texts: vLLM 0.32's sources."""

import re

from providers.vllm.command import INSTALL

_Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*pairs: tuple[str, str]) -> _Rules:
    return tuple((re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in pairs)


_CAUSES = _rules(
    (
        r"larger than the available KV cache memory|No available memory for the cache blocks",
        "There is too little memory left for the keys and values of context_size tokens: lower context_size, take a "
        "kv_cache_dtype of fewer bits, or give more (on a GPU gpu_memory_utilization or tensor_parallel, on the CPU "
        "cpu_cache_gib).",
    ),
    (
        r"Free memory on device .* is less than",
        "Something else holds a part of the GPU's memory: lower gpu_memory_utilization to what is free, or keep other "
        "slots off this GPU (a slot on vLLM claims a whole one unless resources.gpu says less).",
    ),
    (
        r"CUDA out of memory|HIP out of memory|torch\.OutOfMemoryError|OutOfMemoryError",
        "The GPU's memory does not hold it: lower context_size, parallel_requests or gpu_memory_utilization, take a "
        "quantised model, or more GPUs (resources.gpu, tensor_parallel).",
    ),
    (
        r"User-specified max_model_len .* is greater than the derived max_model_len",
        "The model was made for fewer tokens than context_size says: lower it.",
    ),
    (
        r"Failed to infer device type|No CUDA GPUs are available|no NVIDIA driver|CUDA driver version is insufficient",
        "vLLM finds no GPU: look at the driver (nvidia-smi, rocm-smi), and install the vLLM that is built for this "
        f"device ({INSTALL}; for the CPU: scripts/vllm-venv DIR).",
    ),
    (
        r"Unsupported CPU attention configuration|head_size .* is not supported|unsupported head size",
        "vLLM's attention on this device does not know this model's size of heads: take another model, or llama.cpp.",
    ),
    (
        r"gated repo|You are trying to access a gated|401 Client Error",
        "The model's owner lets it be fetched only by those who have asked: ask on its page, then `hal0 pull` with "
        "HF_TOKEN set.",
    ),
    (
        r"tokenizer.*(?:not found|does not exist|is not a local folder)|Can't load tokenizer|Couldn't instantiate the "
        r"backend tokenizer|tokenizer_config\.json",
        "The model's folder has no tokenizer: name the whole repository in model (hf://org/repo), not one file of it.",
    ),
    (
        r"chat template.*(?:does not exist|is not a file|looks like a file path)",
        "options.chat_template names no file on this node.",
    ),
    (r"invalid (?:tool call|reasoning) parser", "vLLM lists the parsers that it knows in the line above."),
    (
        r"lora.*rank.*(?:greater|larger|exceed)|LoRA rank \d+ is greater",
        "An adapter has a higher rank than options.max_lora_rank: raise it to that of the adapter.",
    ),
    (
        r"model type .* but Transformers does not recognize|Model architectures .* (?:are not supported|failed)",
        "This vLLM does not know the model's architecture: update vLLM, or take another model.",
    ),
    (
        r"trust_remote_code=True|trust-remote-code",
        "The model comes with code of its own. If you trust it: extra_args: [--trust-remote-code].",
    ),
    (
        r"No module named '?vllm",
        f"The Python that options.python names has no vLLM: install it there ({INSTALL}; for the CPU: "
        "scripts/vllm-venv DIR).",
    ),
    (r"Sleep mode is not supported", "This device has no sleep mode: take options.sleep_when_idle away."),
    (
        r"unrecognized arguments|invalid choice|error: argument",
        "This vLLM does not know an argument: see extra_args, and whether its version is one that hal0 knows.",
    ),
)


def advice(output: str) -> str | None:
    """By the most telling line, whatever follows it; None if there is none."""
    return next((words for cause, words in _CAUSES if cause.search(output)), None)
