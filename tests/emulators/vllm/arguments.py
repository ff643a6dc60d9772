"""The command line of `vllm serve`, as far as hal0 uses it; what is not listed here is refused, as there."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

ON_OFF = argparse.BooleanOptionalAction
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
TOOL_PARSERS = ("hermes", "llama3_json", "mistral", "qwen3_coder")
REASONING_PARSERS = ("deepseek_r1", "qwen3", "openai_gptoss")


class Parser(argparse.ArgumentParser):
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Underscores are dashes in names of options."""
        given = [self._dashed(one) for one in args or ()]
        return super().parse_known_args(given, namespace)

    @staticmethod
    def _dashed(argument: str) -> str:
        name, equals, value = argument.partition("=")
        return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Exits with 2 for what vLLM does not know."""
    parser = Parser(prog="vllm")
    parser.add_argument("-v", "--version", action="version", version="0.32.0")
    serve = parser.add_subparsers(dest="subparser", required=True).add_parser("serve")
    serve.add_argument("model_tag")
    serve.add_argument("--host")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--disable-uvicorn-access-log", action=ON_OFF)
    _add_model(serve)
    _add_engine(serve)
    _add_frontend(serve)
    arguments = parser.parse_args(argv)
    if arguments.enable_auto_tool_choice and not arguments.tool_call_parser:
        raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")
    return arguments


def _add_model(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--served-model-name", nargs="+")
    serve.add_argument("--runner", choices=("auto", "draft", "generate", "pooling"), default="auto")
    serve.add_argument("--convert", choices=("auto", "classify", "embed", "none"), default="auto")
    serve.add_argument("--max-model-len", type=int, default=2048)
    dtypes = ("auto", "bfloat16", "float", "float16", "float32", "half")
    serve.add_argument("--dtype", choices=dtypes, default="auto")
    serve.add_argument("--quantization", "-q")
    serve.add_argument("--enforce-eager", action=ON_OFF)
    serve.add_argument("--enable-sleep-mode", action=ON_OFF)
    serve.add_argument("--trust-remote-code", action=ON_OFF)
    serve.add_argument("--enable-lora", action=ON_OFF)
    serve.add_argument("--max-loras", type=int, default=1)
    serve.add_argument("--max-lora-rank", type=int, choices=RANKS, default=16)
    serve.add_argument("--lora-modules", nargs="+", type=json.loads, default=[])


def _add_engine(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--max-num-seqs", type=int)
    serve.add_argument("--gpu-memory-utilization", type=float, default=0.92)
    serve.add_argument("--kv-cache-dtype", default="auto")
    serve.add_argument("--enable-prefix-caching", action=ON_OFF)
    serve.add_argument("--enable-chunked-prefill", action=ON_OFF)
    serve.add_argument("--speculative-config", "-sc", type=json.loads)
    serve.add_argument("--tensor-parallel-size", "-tp", type=int, default=1)
    serve.add_argument("--pipeline-parallel-size", "-pp", type=int, default=1)
    serve.add_argument("--distributed-executor-backend", choices=("external_launcher", "mp", "ray", "uni"))


def _add_frontend(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--chat-template")
    serve.add_argument("--enable-auto-tool-choice", action=ON_OFF)
    serve.add_argument("--tool-call-parser", choices=TOOL_PARSERS)
    serve.add_argument("--reasoning-parser", choices=REASONING_PARSERS)
