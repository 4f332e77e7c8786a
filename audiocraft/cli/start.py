"""Where the program begins. It imports nothing until Ctrl-C would be answered with one line."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; see `audiocraft.cli.main`."""
    try:
        from audiocraft.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130
