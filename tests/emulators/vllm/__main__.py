"""`python -m tests.emulators.vllm serve MODEL ...`"""

import signal
import sys

from tests.emulators.vllm.arguments import parse
from tests.emulators.vllm.engine import load
from tests.emulators.vllm.serving import Server


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    arguments = parse(sys.argv[1:])
    engine = load(arguments)
    server = Server(arguments.host or "0.0.0.0", arguments.port, engine)
    print(
        f"(APIServer) INFO [entry.py:140] Starting vLLM server on http://{arguments.host}:{arguments.port}", flush=True
    )
    try:
        server.serve_forever(poll_interval=0.05)
    finally:
        server.server_close()


if __name__ == "__main__":
    main()
