"""Compiled kernels in wheels: for this machine's kind, or for AUDIOCRAFT_WHEEL_MACHINE where a cross compiler is there.

Without a compiler, or on another system than Linux, the wheel is pure: kernels are compiled when they are first needed.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Old names of functions that glibc 2.34 moved, so that the libraries load with older ones too; no table of symbols.
_FURTHER = ("-DOLD_GLIBC", "-s")
_SECONDS = 900
_CROSS = {"aarch64": "aarch64-linux-gnu-gcc"}


class KernelsHook(BuildHookInterface[Any]):
    """Adds the libraries of every level to a wheel, and the platform they need to its name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a temporary folder, which `finalize` removes."""
        self._folder = Path(tempfile.mkdtemp(prefix="audiocraft-wheel-"))
        machine = os.environ.get("AUDIOCRAFT_WHEEL_MACHINE", platform.machine().lower())
        compiling = _compiling(Path(self.root))
        compiler = _compiler(compiling, machine)
        if version == "editable" or not sys.platform.startswith("linux") or compiler is None:
            self.app.display_info("a pure wheel: kernels are compiled when they are first needed")
            return

        def compiled(level: str) -> Path | None:
            try:
                return compiling.compile_into(
                    self._folder, level, compiler, machine=machine, further=_FURTHER, seconds=_SECONDS
                )
            except (OSError, subprocess.SubprocessError) as error:
                self.app.display_warning(f"no kernels of level {level}: {error}")
                return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = [path for path in pool.map(compiled, compiling.levels_of(machine)) if path is not None]
        if made:
            for path in made:
                build_data["force_include"][str(path)] = f"audiocraft/kernels/compiled/{path.name}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-manylinux_2_{_glibc(made)}_{machine}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled: the wheel has it."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _compiling(root: Path) -> ModuleType:
    """audiocraft/kernels/compiling.py by itself: torch, which the package imports, is not there while building."""
    path = root / "audiocraft" / "kernels" / "compiling.py"
    spec = importlib.util.spec_from_file_location("audiocraft_compiling", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compiler(compiling: ModuleType, machine: str) -> tuple[str, ...] | None:
    if machine == platform.machine().lower():
        own: tuple[str, ...] | None = compiling.find_compiler()
        return own
    found = shutil.which(_CROSS.get(machine, "there is none"))
    return None if found is None else (found,)


def _glibc(libraries: list[Path]) -> int:
    """The minor version of the oldest glibc 2 that has all that the libraries call; at least manylinux's first, 17."""
    versions = [
        int(found) for path in libraries for found in re.findall(rb"GLIBC_2\.(\d+)", path.read_bytes())
    ]
    return max([17, *versions])
