"""Stands where Ray's raylet wants an agent that we have no use for.

Stand-alone: `python -I -S stand_in_agent.py SESSION NODE NAME=PORT...`. The raylet starts its agents itself, refuses an
empty command, waits for the files in which they tell their ports, and ends when one of them does; -1 stands for a
service that is not in use. Lives as long as its parent. Imports next to nothing: 3 MB instead of 80.
"""

import os
import select
import sys


def main() -> None:
    # The raylet adds flags of its own.
    session, node, *ports = (one for one in sys.argv[1:] if not one.startswith("--"))
    raylet = os.pidfd_open(os.getppid())
    for name, port in (one.split("=") for one in ports):
        path = f"{session}/{name}_{node}"
        with open(f"{path}.draft", "w") as draft:
            draft.write(port)
        os.rename(f"{path}.draft", path)
    select.select([raylet], [], [])


if __name__ == "__main__":
    main()
