"""The compiled kernels of this machine: found beside the package, in the cache, or compiled once into the cache.

AUDIOCRAFT_NATIVE=0 leaves them out. Another value than 0 or 1 is the path of a library to load instead.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch

from audiocraft.environment import cache_dir
from audiocraft.errors import InvalidInput
from audiocraft.kernels.compiling import (
    BUNDLED,
    abi_version,
    compile_into,
    file_name,
    find_compiler,
    levels_of,
)

logger = logging.getLogger(__name__)

SWITCH = "AUDIOCRAFT_NATIVE"
NO_COMPILER = (
    "no C compiler, and so no CPU kernels: music is made in torch, several times slower; "
    "pip install 'audiocraft-custom[kernels]' brings one"
)

_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18
"""The number of a system call on x86-64, what is asked of it, and for which registers."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernels, or None where they are switched off or cannot be had. Compiles at most once per machine."""
    switch = os.environ.get(SWITCH, "1")
    if switch == "0":
        return None
    if switch != "1":
        features()  # allows this process what that library may need
        return _opened(Path(switch))
    folders = (BUNDLED, cache_dir() / "native")
    best, *lower = levels()
    found = _first(folder / file_name(best) for folder in folders)
    if found is not None:
        return found
    made = build(folders[1], best)
    found = None if made is None else _opened(made)
    if found is not None:
        return found
    # An old compiler lacks the newest levels; the next one is far better than none. What a wheel brought comes first.
    found = _first(BUNDLED / file_name(name) for name in lower)
    if found is not None or find_compiler() is None:
        return found
    for level in lower:
        made = folders[1] / file_name(level)
        found = _first([made]) or (None if build(folders[1], level) is None else _opened(made))
        if found is not None:
            return found
    return None


def level_name() -> str | None:
    """Return the level of the kernels that are used, such as "v3" for AVX2; None where torch does everything."""
    found = library()
    return None if found is None else Path(found._name).stem.rpartition(f"-{platform.machine().lower()}-")[2]


def use_level(level: str) -> None:
    """Use the kernels of this level, compiled where they are not yet, for as long as the process lives; before anything
    else uses them.

    Raises:
        InvalidInput: the processor has no such level, or it cannot be compiled.
    """
    if level not in levels():
        raise InvalidInput(f"level {level!r} does not run here; {', '.join(levels())} do", field="level")
    place = cache_dir() / "native"
    made = place / file_name(level)
    if not made.is_file() and build(place, level) is None:
        raise InvalidInput(f"the kernels of level {level!r} cannot be compiled", field="level")
    os.environ[SWITCH] = str(made)
    library.cache_clear()


def levels() -> tuple[str, ...]:
    """Return the levels that this processor can run, the best first."""
    return levels_of(platform.machine().lower(), features())


def _first(paths: Iterable[Path]) -> ctypes.CDLL | None:
    """Return the first of these libraries that is there and can be used."""
    return next(filter(None, (_opened(path) for path in paths if path.is_file())), None)


def features() -> frozenset[str]:
    """Return what the processor can do, under Linux's names; empty where the system does not say. Where it has tiles
    (AMX), the system is asked to allow this process to use them; they are left out where it does not."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return frozenset({"asimddp"})  # every Mac with such a processor has it
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    found = frozenset(line.partition(":")[2].split())
    return found if "amx_tile" not in found or _allows_tiles() else found - {"amx_tile", "amx_int8"}


@cache
def _allows_tiles() -> bool:
    """Ask Linux to keep the registers of tiles for this process and those it forks (arch_prctl(2)), and return whether
    it does; it keeps them for nobody who does not ask."""
    try:
        answer: int = ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA)
    except (OSError, AttributeError):
        return False
    return answer == 0


def build(folder: Path, level: str) -> Path | None:
    """Compile the kernels for one level into `folder`; None, and a line in the log, where that fails."""
    compiler = find_compiler()
    if compiler is None:
        logger.warning("%s", NO_COMPILER)
        return None
    try:
        return compile_into(folder, level, compiler)
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None)
        logger.warning("compiling the CPU kernels for %s failed (%s)%s", level, error, output or "")
        return None


def _opened(path: Path) -> ctypes.CDLL | None:
    try:
        found = ctypes.CDLL(str(path))
        found.ac_version.argtypes, found.ac_version.restype = (), ctypes.c_int
        version, expected = found.ac_version(), abi_version()
    except (OSError, AttributeError) as error:
        logger.warning("cannot use the CPU kernels in %s (%s): decoding runs in torch", path, error)
        return None
    if version != expected:
        logger.warning("the CPU kernels in %s are of version %d, not %d", path, version, expected)
        return None
    _share_threads(found)
    return found


def _share_threads(found: ctypes.CDLL) -> None:
    """Let the kernels work in the threads of torch's OpenMP, where it is one that can be asked."""
    try:
        openmp = ctypes.CDLL(str(next(Path(torch.__file__).parent.glob("lib/libtorch_cpu.so"))))
        start, end = openmp.GOMP_parallel_start, openmp.GOMP_parallel_end  # found among what torch depends on
    except (OSError, AttributeError, StopIteration):
        return
    found.ac_use_team.argtypes, found.ac_use_team.restype = (ctypes.c_void_p, ctypes.c_void_p), None
    found.ac_use_team(ctypes.cast(start, ctypes.c_void_p), ctypes.cast(end, ctypes.c_void_p))
