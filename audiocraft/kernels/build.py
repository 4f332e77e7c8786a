"""The compiled kernels of this machine: found beside the package, in the cache, or compiled once into the cache.

AUDIOCRAFT_NATIVE=0 leaves them out. Another value than 0 or 1 is the path of a library to load instead.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from audiocraft.environment import cache_dir

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).parent / "c" / "kernels.c"
"""What is compiled; it includes the other files beside it."""

BUNDLED = Path(__file__).with_name("compiled")
"""Where a wheel that was built for this platform carries compiled kernels."""

SWITCH = "AUDIOCRAFT_NATIVE"
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-pthread", "-fno-math-errno")
_V3 = ("avx2", "fma", "f16c")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512dq", "avx512vl")
# The first whose features the processor has; the compiler is asked for exactly these.
LEVELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("v4-vnni", (*_V4, "avx512_vnni")),
    ("v4", _V4),
    ("v3", _V3),
    ("plain", ()),
)
_COMPILE_SECONDS = 120


def abi_version() -> int:
    """The version of the structs and functions, which c/structs.h counts."""
    found = re.search(r"#define ABI_VERSION (\d+)", SOURCE.with_name("structs.h").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, or None where they are switched off or cannot be had. Compiles at most once per machine."""
    switch = os.environ.get(SWITCH, "1")
    if switch == "0":
        return None
    if switch != "1":
        return _opened(Path(switch))
    level = level_of(features())
    for folder in (BUNDLED, cache_dir() / "native"):
        path = folder / file_name(level)
        found = _opened(path) if path.is_file() else None
        if found is not None:
            return found
    made = build(cache_dir() / "native", level)
    return None if made is None else _opened(made)


def features() -> frozenset[str]:
    """What the processor can do, under Linux's names; empty where the system does not say."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return frozenset()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())


def level_of(found: frozenset[str]) -> str:
    """The best level for a processor with these features."""
    return next(name for name, needed in LEVELS if found.issuperset(needed))


def file_name(level: str) -> str:
    """Different for each source, system and level, so that no library is ever used for another one's work."""
    texts = [path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[ch]"))]
    digest = hashlib.sha256(b"".join([*texts, repr(_FLAGS).encode()])).hexdigest()[:12]
    return f"kernels-{digest}-{sys.platform}-{platform.machine().lower()}-{level}.so"


def build(folder: Path, level: str) -> Path | None:
    """Compile the kernels for one level into `folder`; None, and a line in the log, where that fails."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    if compiler is None:
        logger.info("no C compiler, so decoding on the CPU runs in torch; with gcc or clang it is faster")
        return None
    path = folder / file_name(level)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as workshop:
            made = Path(workshop, path.name)
            _compile([compiler, *_FLAGS, *options(level), str(SOURCE), "-o", str(made), "-lm"])
            os.replace(made, path)
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None)
        logger.warning("compiling the CPU kernels failed (%s): decoding runs in torch%s", error, output or "")
        return None
    return path


def options(level: str) -> list[str]:
    """What the compiler is told for a level."""
    return [f"-m{name.replace('_', '')}" for name in dict(LEVELS)[level]]


def _compile(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_COMPILE_SECONDS)


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
