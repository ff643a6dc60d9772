"""`flm` as a process."""

import signal
import sys
from io import TextIOWrapper

from tests.emulators.flm.commands import main

# The real program installs no handler: both signals end it at once.
signal.signal(signal.SIGINT, signal.SIG_DFL)
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(encoding="utf-8")
sys.exit(main(sys.argv[1:]))
