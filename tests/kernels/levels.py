"""Build the harness for every level of the kernels, and run each: on this processor, or else under an emulator.

    python tests/kernels/levels.py                       every level, as it is compiled for users
    python tests/kernels/levels.py --sanitize            with the address and undefined-behaviour sanitizers
    python tests/kernels/levels.py --level v3 --random 7 one level, with random shapes drawn from a seed

AVX2 runs under qemu-x86_64 where the processor has none, NEON under qemu-aarch64. No version of qemu up to 9 executes
AVX-512, AVX-VNNI or AMX: where the processor has none, these levels run with their instructions written out in C
(harness/*_emulated.h). What cannot run at all is named, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cases import write_cases, write_random_cases

from audiocraft.kernels import build, compiling

HARNESS = Path(__file__).parent / "harness"
ARM = {"aarch64": "plain", "aarch64-dotprod": "dotprod"}
LEVELS = (*(name for name, _ in compiling.LEVELS), *ARM)
_FLAGS = ("-std=gnu11", "-pthread", "-fno-math-errno", "-Wall", "-Wextra", "-Wno-psabi", "-Werror")
_SANITIZED = (
    "-O1",
    "-g1",  # lines for the sanitizers' reports; more of it takes a third of the compiler's time
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
_ARM_MACHINES = ("aarch64", "arm64")
_TIMEOUT_S = 900


@dataclass(frozen=True)
class Way:
    """How a level is compiled and run here, in words too."""

    level: str
    compiler: tuple[str, ...]
    runner: tuple[str, ...]
    words: str

    def build(self, folder: Path, *, sanitize: bool) -> Path:
        """Compile the harness into `folder`; for the compiler's own errors, see its output."""
        made = folder / f"harness-{self.level}"
        emulated = "-include" in self.compiler  # written out in C, and slow to optimise
        optimise = _SANITIZED if sanitize else ("-O1",) if emulated else ("-O3",)
        folders = (f"-I{compiling.SOURCE.parent}", f"-I{HARNESS}")
        source = str(HARNESS / "harness.c")
        command = [*self.compiler, *_FLAGS, *optimise, *folders, source, "-o", str(made), "-lm"]
        subprocess.run(command, check=True, timeout=_TIMEOUT_S)
        return made

    def run(self, program: Path, cases: Path) -> subprocess.CompletedProcess[str]:
        """Run it over a file of cases; standard output is one line, standard error says what was off."""
        command = [*self.runner, str(program), str(cases)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)


def way(level: str, *, sanitize: bool = False) -> Way | str:
    """How to run a level here, or why it cannot be."""
    machine, compiler = platform.machine().lower(), shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return "there is no C compiler"
    if level in ARM:
        options = tuple(compiling.options(ARM[level]))
        if machine in _ARM_MACHINES:
            lacks = ARM[level] not in build.levels()
            return (
                "the processor lacks it"
                if lacks
                else Way(level, (compiler, *options), (), "on this processor")
            )
        cross, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
        if sanitize:
            return "sanitizers do not run under qemu"
        if cross is None or emulator is None:
            return "it needs aarch64-linux-gnu-gcc and qemu-aarch64: make kernel-deps"
        return Way(level, (cross, "-static", *options), (emulator, "-cpu", "max"), "under qemu-aarch64")
    if machine not in ("x86_64", "amd64"):
        return "this is no x86-64 machine"
    return _x86_way(level, compiler, sanitize=sanitize)


def _x86_way(level: str, compiler: str, *, sanitize: bool) -> Way | str:
    levels, found = dict(compiling.LEVELS), build.features()
    options = tuple(compiling.options(level))
    if found.issuperset(levels[level]):
        return Way(level, (compiler, *options), (), "on this processor")
    wide, emulated = level.startswith("v4"), level.startswith("v4") or level == "v3-vnni"
    if wide and sanitize:
        return "with AVX-512 written out in C, sanitizers take minutes to compile"
    if level == "v4-amx" and found.issuperset(levels["v4-vnni"]):
        tiles = ("-include", str(HARNESS / "amx_emulated.h"))
        compiled = (compiler, *compiling.options("v4-vnni"), *tiles)
        return Way(level, compiled, (), "on this processor, with tiles written out in C")
    if emulated:
        header = ("-include", str(HARNESS / ("avx512_emulated.h" if wide else "avxvnni_emulated.h")))
        vnni = ("-DEMULATE_VNNI",) if level in ("v4-vnni", "v4-amx") else ()
        header += ("-include", str(HARNESS / "amx_emulated.h")) if level == "v4-amx" else ()
        options = (*compiling.options("v3"), *vnni, *header)
        if found.issuperset(levels["v3"]):
            return Way(level, (compiler, *options), (), "with what it lacks written out in C")
    emulator = shutil.which("qemu-x86_64")
    if sanitize or emulator is None:
        return "the processor lacks its instructions, and qemu-x86_64 is absent, or not for sanitizers"
    words = "under qemu-x86_64" + (", with what it lacks written out in C" if emulated else "")
    return Way(level, (compiler, *options), (emulator, "-cpu", "max"), words)


def native() -> str:
    """The level that this processor runs, by its name in `LEVELS`."""
    machine = platform.machine().lower()
    best = compiling.level_of(build.features(), machine)
    return (
        next((name for name, level in ARM.items() if level == best), best)
        if machine in _ARM_MACHINES
        else best
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every level that was asked for ran, and was right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--level", action="append", choices=(*LEVELS, "native"), help="this level alone; may be repeated"
    )
    parser.add_argument(
        "--sanitize", action="store_true", help="with the sanitizers; levels under qemu are left out"
    )
    parser.add_argument("--random", type=int, metavar="SEED", help="random shapes as well as the fixed ones")
    parser.add_argument("--count", type=int, default=20, help="of each kind of random shapes")
    options = parser.parse_args(arguments)
    levels = [native() if name == "native" else name for name in options.level or LEVELS]
    with tempfile.TemporaryDirectory(prefix="audiocraft-kernels-") as name:
        folder = Path(name)
        files = [folder / "edges"]
        write_cases(files[0])
        if options.random is not None:
            files.append(folder / "random")
            write_random_cases(files[1], options.random, options.count)
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda level: _try(level, folder, files, options.sanitize), levels))
    return 0 if all(results) else 1


def _try(level: str, folder: Path, files: Sequence[Path], sanitize: bool) -> bool:
    found = way(level, sanitize=sanitize)
    if isinstance(found, str):
        sys.stdout.write(f"{level}: not run: {found}\n")
        return sanitize and level != "plain"
    program, right = found.build(folder, sanitize=sanitize), True
    words = f"{found.words}, sanitized" if sanitize else found.words
    for shapes in files:
        result = found.run(program, shapes)
        said = result.stdout.strip() or f"exit status {result.returncode}"
        sys.stdout.write(f"{level}: {words}: {said}\n{result.stderr}")
        right = right and result.returncode == 0
    return right


if __name__ == "__main__":
    sys.exit(main())
