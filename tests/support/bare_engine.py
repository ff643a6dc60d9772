"""A real llama.cpp server in a process of its own: `python -m tests.support.bare_engine --model M.gguf --port 9000`."""

import argparse
import signal
import threading
from pathlib import Path

import xllamacpp  # type: ignore[import-untyped]

RANK_POOLING = 4


def parameters(arguments: argparse.Namespace) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.model)
    params.hostnames = [arguments.host]
    params.port = arguments.port
    if arguments.alias:
        params.model_alias = {arguments.alias}
    params.n_parallel = arguments.parallel
    params.n_ctx = arguments.context * arguments.parallel
    params.use_jinja = True
    params.fit_params = False
    params.warmup = False
    params.verbosity = -1
    params.cpuparams.n_threads = 1
    params.n_threads_http = 4
    if arguments.embedding or arguments.rerank:
        params.embedding = True
    if arguments.rerank:
        params.pooling_type = RANK_POOLING
    if arguments.mmproj:
        params.mmproj.path = str(arguments.mmproj)
    if arguments.api_key:
        params.api_keys = [arguments.api_key]
    return params


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alias", default="", help="the model's name in answers")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--context", type=int, default=512, help="tokens for each parallel request")
    parser.add_argument("--embedding", action="store_true")
    parser.add_argument("--rerank", action="store_true")
    parser.add_argument("--mmproj", type=Path)
    parser.add_argument("--api-key", default="")
    return parser.parse_args()


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = xllamacpp.Server(parameters(parse()))
    print(server.listening_address, flush=True)
    stop.wait()


if __name__ == "__main__":
    main()
