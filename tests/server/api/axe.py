"""axe-core for the tests of the page: `python tests/server/api/axe.py` puts it into the cache, outside of git."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "4.10.3"


def place() -> Path:
    """Where it is, if it is there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("AUDIOCRAFT_AXE") or cache / "audiocraft" / "tests" / f"axe-{VERSION}.min.js")


def fetch() -> Path:
    """Get the package with npm and keep its one file."""
    target = place()
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"axe-core@{VERSION}"], cwd=folder, check=True)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as package:
            file = package.extractfile("package/axe.min.js")
            assert file is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read())
    return target


if __name__ == "__main__":
    sys.stdout.write(f"{fetch()}\n")
