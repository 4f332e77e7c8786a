"""`python -m audiocraft` is the command `audiocraft`."""

from __future__ import annotations

from audiocraft.cli.start import main

if __name__ == "__main__":
    raise SystemExit(main())
