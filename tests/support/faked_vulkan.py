"""A `llama-server` that has a Vulkan device of its own telling, and computes on the CPU: for configurations of machines
that are not here. What a GPU does is not tested by it."""

import sys
from pathlib import Path

PROGRAM = """#!{python}
import sys
from providers.llamacpp.embedded import main

if "--list-devices" in sys.argv:
    print("Available devices:\\n  Vulkan0: Faked GPU (98304 MiB, 98304 MiB free)")
    sys.exit()
at = sys.argv.index("--device")
assert sys.argv[at + 1] == "Vulkan0", "the only device"
sys.argv[at + 1] = "none"
main()
"""


def faked_vulkan(folder: Path) -> Path:
    """The folder, to be put on PATH."""
    folder.mkdir(parents=True)
    program = folder / "llama-server"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    return folder
