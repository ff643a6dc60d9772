"""What `extra_args` and `env` may not hold, since keys of the slot set it or nobody may. Flags: vLLM 0.32."""

from types import MappingProxyType

_NOBODY = "nothing, since hal0 decides where the engine listens and who may ask it"
_ONE_ENGINE = "nothing, since a slot's replica is one engine"

SET_BY_SLOT: MappingProxyType[str, str] = MappingProxyType(
    {
        flag: key
        for key, flags in {
            "model": "--model --tokenizer --revision --hf-token --download-dir",
            "name": "--served-model-name",
            "context_size": "--max-model-len",
            "parallel_requests": "--max-num-seqs",
            "capabilities": "--runner --convert",
            "companions": "--lora-modules --enable-lora --no-enable-lora --max-loras",
            "options.max_lora_rank": "--max-lora-rank",
            "options.tensor_parallel": "--tensor-parallel-size -tp",
            "options.pipeline_parallel": "--pipeline-parallel-size -pp --distributed-executor-backend",
            "options.dtype": "--dtype",
            "options.quantization": "--quantization -q",
            "options.gpu_memory_utilization": "--gpu-memory-utilization --device-memory-utilization",
            "options.kv_cache_dtype": "--kv-cache-dtype",
            "options.prefix_caching": "--enable-prefix-caching --no-enable-prefix-caching",
            "options.chunked_prefill": "--enable-chunked-prefill --no-enable-chunked-prefill",
            "options.enforce_eager": "--enforce-eager --no-enforce-eager",
            "options.speculative": "--speculative-config -sc --spec-method --spec-model --spec-tokens",
            "options.chat_template": "--chat-template",
            "options.tool_call_parser": ("--tool-call-parser --enable-auto-tool-choice --no-enable-auto-tool-choice"),
            "options.reasoning_parser": "--reasoning-parser",
            "options.sleep_when_idle": "--enable-sleep-mode --no-enable-sleep-mode",
            _NOBODY: (
                "--host --port --uds --api-key --root-path --ssl-keyfile --ssl-certfile --ssl-ca-certs "
                "--enable-ssl-refresh --ssl-cert-reqs --ssl-ciphers --allowed-origins --allow-credentials "
                "--allowed-methods --allowed-headers --grpc --grpc-port --config --headless"
            ),
            _ONE_ENGINE: (
                "--api-server-count -asc --data-parallel-size -dp --data-parallel-rank -dpn "
                "--data-parallel-start-rank -dpr --data-parallel-size-local -dpl --data-parallel-address -dpa "
                "--data-parallel-rpc-port -dpp --data-parallel-backend -dpb --data-parallel-hybrid-lb -dph "
                "--data-parallel-external-lb -dpe --data-parallel-multi-port-external-lb -dpm "
                "--nnodes -n --node-rank -r --master-addr --master-port --device-ids"
            ),
            "nothing, since the engine must keep running": "--help -h --version -v",
        }.items()
        for flag in flags.split()
    }
)
"""Arguments of `vllm serve`, and the key that sets each instead."""

OWN_VARIABLES: MappingProxyType[str, str] = MappingProxyType(
    {
        "VLLM_API_KEY": _NOBODY,
        "VLLM_SERVER_DEV_MODE": "options.sleep_when_idle",
        "VLLM_CPU_KVCACHE_SPACE": "options.cpu_cache_gib",
        "CUDA_VISIBLE_DEVICES": "resources",
        "HIP_VISIBLE_DEVICES": "resources",
    }
)


def key_that_sets(argument: str) -> str | None:
    """The key that sets what this argument would, if there is one. vLLM reads underscores as dashes, takes unique
    beginnings of a long name for it, and `--config.key value` for a part of `--config`."""
    flag = argument.partition("=")[0]
    if not flag.startswith("-"):
        return None
    if not flag.startswith("--"):
        return SET_BY_SLOT.get(flag)
    flag = flag.replace("_", "-").partition(".")[0]
    return SET_BY_SLOT.get(flag) or next((key for name, key in SET_BY_SLOT.items() if _begins(flag, name)), None)


def _begins(flag: str, name: str) -> bool:
    return len(flag) > 2 and name.startswith(flag) and flag not in _WHOLE


_WHOLE = frozenset({"--enable", "--no"})
"""Too short to be unique."""
