"""A wheel brings the kernels: whoever installs it needs no compiler and waits for none."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from audiocraft.kernels import compiling

pytest.importorskip("hatchling")

FIRST_USE = """
import sys, torch
from audiocraft.kernels.bindings import kernels
from audiocraft.modules.packed_linear import PackedWeight, linear
found = kernels()
with torch.inference_mode():
    x = torch.ones(2, 64)
    right = torch.allclose(linear(x, PackedWeight(torch.ones(8, 64), "int8")), torch.full((2, 8), 64.0), rtol=1e-2)
sys.stdout.write(f"{right} {found.call._name}")
"""


def build(repository: Path, folder: Path, *, path: str, kind: str = "wheel", compiler: str = "cc") -> Path:
    """What hatchling makes of the checkout, with programs found in `path` alone."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    environment = {**os.environ, "PATH": path, "CC": compiler}
    subprocess.run(command, cwd=repository, env=environment, check=True, capture_output=True)
    (made,) = folder.iterdir()
    return made


def test_without_a_compiler_a_wheel_is_pure(repository: Path, tmp_path: Path) -> None:
    made = build(repository, tmp_path / "dist", path=str(tmp_path))
    assert made.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
    assert "audiocraft/kernels/c/kernels.c" in names and not any(name.endswith(".so") for name in names)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("gcc"), reason="no C compiler")
def test_a_wheel_brings_the_kernels(repository: Path, tmp_path: Path, gcc: Path) -> None:
    """Of every level, compiled as for users, but for the time that their optimisation takes."""
    hasty = tmp_path / "hasty"
    hasty.write_text(f'#!/bin/sh\nexec {gcc} "$@" -O1\n')
    hasty.chmod(0o755)
    made = build(repository, tmp_path / "dist", path=os.environ["PATH"], compiler=str(hasty))
    machine = platform.machine().lower()
    assert f"-py3-none-manylinux_2_17_{machine}.whl" in made.name
    with zipfile.ZipFile(made) as archive:
        libraries = [entry for entry in archive.infolist() if entry.filename.endswith(".so")]
        archive.extractall(tmp_path / "installed")
    levels = compiling.levels_of(machine)
    assert {Path(library.filename).name for library in libraries} == {*map(compiling.file_name, levels)}
    assert sum(library.compress_size for library in libraries) < 600_000
    environment = {
        **os.environ,
        "PATH": str(tmp_path / "no compiler"),
        "PYTHONPATH": str(tmp_path / "installed"),
        "AUDIOCRAFT_CACHE_DIR": str(tmp_path / "cache"),
    }
    environment.pop("AUDIOCRAFT_NATIVE", None)
    command = [sys.executable, "-c", FIRST_USE]
    done = subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True)
    right, library = done.stdout.split(" ", 1)
    assert (
        right == "True"
        and Path(library).parent == tmp_path / "installed" / "audiocraft" / "kernels" / "compiled"
    )
    assert not (tmp_path / "cache").exists()


def test_the_sources_alone_can_be_built_from(repository: Path, tmp_path: Path) -> None:
    """The archive of sources has what a build of a wheel reads."""
    made = build(repository, tmp_path / "dist", path=os.environ["PATH"], kind="sdist")
    shutil.unpack_archive(made, tmp_path)
    (root,) = [folder for folder in tmp_path.iterdir() if folder.name.startswith("audiocraft_custom")]
    assert (root / "hatch_build.py").is_file() and (root / "audiocraft/kernels/c/structs.h").is_file()
