"""Kernels for the tests that need them, and a compiler that remembers: sources are compiled once as they are, and not
in each run of the tests."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from audiocraft.kernels import bindings
from audiocraft.kernels.bindings import Kernels

_MOST_KEPT = 32
_PROGRAM = """#!{python} -ISB
import glob, hashlib, os, shutil, subprocess, sys
real, kept, words = {real!r}, {kept!r}, sys.argv[1:]
if "-o" not in words:
    os.execv(real, [real, *words])
target = words[words.index("-o") + 1]
folders = {{os.path.dirname(word) for word in words if word.endswith((".c", ".h"))}}
folders |= {{word[2:] for word in words if word.startswith("-I")}}
found = os.stat(real)
digest = hashlib.sha256(repr([found.st_size, found.st_mtime, *(word for word in words if word != target)]).encode())
for path in sorted(path for folder in folders for path in glob.glob(os.path.join(folder, "*.[ch]"))):
    with open(path, "rb") as file:
        digest.update(file.read())
made = os.path.join(kept, digest.hexdigest()[:24])
if not os.path.isfile(made):
    status = subprocess.run([real, *words]).returncode
    if status:
        sys.exit(status)
    shutil.copy(target, made + str(os.getpid()))
    os.replace(made + str(os.getpid()), made)
shutil.copy(made, target)
os.utime(made)
"""


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    found = bindings.kernels()
    if found is None:
        pytest.skip("no compiled kernels on this machine: no C compiler, or AUDIOCRAFT_NATIVE=0")
    return found


@pytest.fixture(scope="session")
def gcc(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The path of a `gcc` that copies what it has compiled before: the same words over the same sources."""
    real = shutil.which("gcc")
    if real is None:
        pytest.skip("no C compiler")
    kept = repository / ".pytest_cache" / "compiled"
    kept.mkdir(parents=True, exist_ok=True)
    for old in sorted(kept.iterdir(), key=lambda path: path.stat().st_mtime)[:-_MOST_KEPT]:
        old.unlink(missing_ok=True)  # another worker may tidy up too
    program = tmp_path_factory.mktemp("gcc") / "gcc"
    program.write_text(_PROGRAM.format(python=sys.executable, real=os.path.realpath(real), kept=str(kept)))
    program.chmod(0o755)
    return program
