"""llama-server's arguments, as far as xllamacpp's parameters know them. Parsing needs no import of the engine."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

UNKNOWN_ARGUMENT = 1

FLASH_ATTENTION = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}
REASONING_FORMATS = {"none": "NONE", "auto": "AUTO", "deepseek": "DEEPSEEK", "deepseek-legacy": "DEEPSEEK_LEGACY"}
POOLINGS = ("none", "mean", "cls", "last", "rank")
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

SEED_OF_ANY = 2**32 - 1


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"the file cannot be read: {error}") from error


def _folder(path: str) -> str:
    """The engine puts file names right behind it."""
    if not Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"not a directory: '{path}'")
    return path.rstrip("/") + "/"


def _seed(text: str) -> int:
    return SEED_OF_ANY if text == "-1" else int(text)


VALUES: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "-m --model": ("model.path", str),
    "-mm --mmproj": ("mmproj.path", str),
    "--port": ("port", int),
    "-c --ctx-size": ("n_ctx", int),
    "-np --parallel": ("n_parallel", int),
    "-b --batch-size": ("n_batch", int),
    "-ub --ubatch-size": ("n_ubatch", int),
    "-t --threads": ("cpuparams.n_threads", int),
    "-tb --threads-batch": ("cpuparams_batch.n_threads", int),
    "--prio": ("cpuparams.priority", int),
    "--poll": ("cpuparams.poll", int),
    "-n --predict --n-predict": ("n_predict", int),
    "--keep": ("n_keep", int),
    "-ngl --gpu-layers --n-gpu-layers": ("n_gpu_layers", int),
    "--threads-http": ("n_threads_http", int),
    "-to --timeout": ("timeout_read", int),
    "--sse-ping-interval": ("sse_ping_interval", int),
    "-cram --cache-ram": ("cache_ram_mib", int),
    "--cache-reuse": ("n_cache_reuse", int),
    "-sps --slot-prompt-similarity": ("slot_prompt_similarity", float),
    "--slot-save-path": ("slot_save_path", _folder),
    "--embd-normalize": ("embd_normalize", int),
    "--image-min-tokens": ("image_min_tokens", int),
    "--image-max-tokens": ("image_max_tokens", int),
    "--media-path": ("media_path", _folder),
    "--chat-template": ("chat_template", str),
    "--chat-template-file": ("chat_template", _text_of),
    "--rope-freq-base": ("rope_freq_base", float),
    "--rope-freq-scale": ("rope_freq_scale", float),
    "--yarn-orig-ctx": ("yarn_orig_ctx", int),
    "--yarn-ext-factor": ("yarn_ext_factor", float),
    "--yarn-attn-factor": ("yarn_attn_factor", float),
    "-lv --verbosity --log-verbosity": ("verbosity", int),
    "-s --seed": ("sampling.seed", _seed),
    "--temp --temperature": ("sampling.temp", float),
    "--top-k": ("sampling.top_k", int),
    "--top-p": ("sampling.top_p", float),
    "--min-p": ("sampling.min_p", float),
    "--repeat-last-n": ("sampling.penalty_last_n", int),
    "--repeat-penalty": ("sampling.penalty_repeat", float),
    "--presence-penalty": ("sampling.penalty_present", float),
    "--frequency-penalty": ("sampling.penalty_freq", float),
}
"""Arguments with a value: the parameter that each sets, and how its text is read."""

SWITCHES: Mapping[str, tuple[str, bool]] = {
    "--embedding --embeddings": ("embedding", True),
    "--jinja": ("use_jinja", True),
    "--no-jinja": ("use_jinja", False),
    "--metrics": ("endpoint_metrics", True),
    "--props": ("endpoint_props", True),
    "--slots": ("endpoint_slots", True),
    "--no-slots": ("endpoint_slots", False),
    "--ui --webui": ("ui", True),
    "--no-ui --no-webui": ("ui", False),
    "--warmup": ("warmup", True),
    "--no-warmup": ("warmup", False),
    "--context-shift": ("ctx_shift", True),
    "--no-context-shift": ("ctx_shift", False),
    "-kvu --kv-unified": ("kv_unified", True),
    "-no-kvu --no-kv-unified": ("kv_unified", False),
    "-cb --cont-batching": ("cont_batching", True),
    "-nocb --no-cont-batching": ("cont_batching", False),
    "--cache-prompt": ("cache_prompt", True),
    "--no-cache-prompt": ("cache_prompt", False),
    "--swa-full": ("swa_full", True),
    "--check-tensors": ("check_tensors", True),
    "--prefill-assistant": ("prefill_assistant", True),
    "--no-prefill-assistant": ("prefill_assistant", False),
    "-sp --special": ("special", True),
}
"""Arguments without one: the parameter, and what it is set to."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """`settings` are parameter paths and plain values; the rest needs the engine's own types."""

    settings: Mapping[str, object]
    host: str
    alias: str | None
    device: str
    rerank: bool
    flash_attention: str
    pooling: str | None
    cache_types: Mapping[str, str]
    reasoning_format: str | None


class _Parser(argparse.ArgumentParser):
    def _get_option_tuples(self, option_string: str) -> list[Any]:
        """No abbreviations: argparse would take `-c99` for `-c 99`, which llama-server refuses."""
        return []

    def error(self, message: str) -> NoReturn:
        self.exit(
            UNKNOWN_ARGUMENT,
            f"error: the embedded engine cannot be started: {message}. "
            "It knows the usual arguments of llama-server; for the others install llama-server "
            "and put it on PATH or into options.binary.\n",
        )


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Exits with 1 and a message for an argument that the embedded engine does not know."""
    parser = _Parser(prog="providers.llamacpp.embedded", add_help=False, allow_abbrev=False)
    for flags, (path, kind) in VALUES.items():
        parser.add_argument(*flags.split(), dest=path, type=kind, default=argparse.SUPPRESS)
    for flags, (path, value) in SWITCHES.items():
        parser.add_argument(*flags.split(), dest=path, action="store_const", const=value, default=argparse.SUPPRESS)
    _add_special(parser)
    given = vars(parser.parse_args(list(argv)))
    known = {path for path, _ in (*VALUES.values(), *SWITCHES.values())}
    return Arguments(
        settings={path: value for path, value in given.items() if path in known},
        host=given["host"],
        alias=given["alias"],
        device=given["device"],
        rerank=given["rerank"],
        flash_attention=FLASH_ATTENTION[given["flash_attn"]],
        pooling=given["pooling"],
        cache_types={name: given[name] for name in ("cache_type_k", "cache_type_v") if given[name]},
        reasoning_format=REASONING_FORMATS.get(given["reasoning_format"]),
    )


def _add_special(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("-a", "--alias")
    parser.add_argument("-dev", "--device", default="none")
    parser.add_argument("--rerank", "--reranking", dest="rerank", action="store_true")
    parser.add_argument("-fa", "--flash-attn", dest="flash_attn", choices=sorted(FLASH_ATTENTION), default="auto")
    parser.add_argument("--pooling", choices=POOLINGS)
    parser.add_argument("-ctk", "--cache-type-k", choices=CACHE_TYPES)
    parser.add_argument("-ctv", "--cache-type-v", choices=CACHE_TYPES)
    parser.add_argument("--reasoning-format", choices=sorted(REASONING_FORMATS))
