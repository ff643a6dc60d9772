"""`hal0 up` on something that is not Ray: `python -m tests.support.up_on PROGRAM CONFIG`.

PROGRAM is Python code that is run in place of `serve_app.run`, with its arguments.
"""

import sys
from pathlib import Path

from serve_app import launcher
from serve_app.launch import driver
from serve_app.launch.up_run import UpOptions


def main() -> None:
    driver.PROGRAM = ("-u", "-c", sys.argv[1])
    sys.exit(launcher.up(Path(sys.argv[2]), UpOptions({})))


if __name__ == "__main__":
    main()
