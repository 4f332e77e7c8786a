"""How the kernels are compiled: levels of processors, what the compiler is told, and how the results are named.

Nothing but the standard library is imported, because building a wheel reads this file by itself.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).parent / "c" / "kernels.c"
"""What is compiled; it includes the other files beside it."""

BUNDLED = Path(__file__).with_name("compiled")
"""The folder in which a wheel that was built for this platform carries compiled kernels."""

FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-pthread", "-fno-math-errno")
_V3 = ("avx2", "fma", "f16c")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512dq", "avx512vl")
# The first whose features the processor has; the compiler is asked for exactly these.
LEVELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("v4-amx", (*_V4, "avx512_vnni", "amx_tile", "amx_int8")),
    ("v4-vnni", (*_V4, "avx512_vnni")),
    ("v4", _V4),
    ("v3-vnni", (*_V3, "avx_vnni")),
    ("v3", _V3),
    ("plain", ()),
)
ARM_LEVELS: tuple[tuple[str, tuple[str, ...]], ...] = (("dotprod", ("asimddp",)), ("plain", ()))
"""Those of aarch64, where the plain one is NEON."""

_X86, _ARM = ("x86_64", "amd64"), ("aarch64", "arm64")
COMPILE_SECONDS = 120


def abi_version() -> int:
    """Return the version of the structs and functions, which c/structs.h counts."""
    found = re.search(r"#define ABI_VERSION (\d+)", SOURCE.with_name("structs.h").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


def features_of(machine: str) -> dict[str, tuple[str, ...]]:
    """Return the levels that are compiled for a kind of machine, the best first, with the features that each needs."""
    return dict(LEVELS if machine in _X86 else ARM_LEVELS if machine in _ARM else LEVELS[-1:])


def levels_of(machine: str, found: frozenset[str] | None = None) -> tuple[str, ...]:
    """Return the levels for a kind of machine, the best first; given its features `found`, those that it can run."""
    levels = features_of(machine)
    return tuple(name for name, needed in levels.items() if found is None or found.issuperset(needed))


def level_of(found: frozenset[str], machine: str = "x86_64") -> str:
    """Return the best level for a processor with these features, under Linux's names."""
    return levels_of(machine, found)[0]


def file_name(level: str, machine: str | None = None) -> str:
    """Return a name that is different for each source, system and level, so that no library is ever used for another
    one's work."""
    texts = [path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[ch]"))]
    digest = hashlib.sha256(b"".join([*texts, repr(FLAGS).encode()])).hexdigest()[:12]
    return f"kernels-{digest}-{sys.platform}-{machine or platform.machine().lower()}-{level}.so"


def options(level: str) -> list[str]:
    """Return what the compiler is told for a level."""
    if level == "dotprod":
        return ["-march=armv8.2-a+dotprod"]
    # Compilers write "avx512vnni", and "amx-int8".
    names = (name.replace("amx_", "amx-").replace("_", "") for name in dict(LEVELS)[level])
    return [f"-m{name}" for name in names]


def find_compiler() -> tuple[str, ...] | None:
    """Return the command of this machine's C compiler: the system's, or that of the package `ziglang`."""
    found = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    if found is not None:
        return (found,)
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "cc")
    return None


def compile_into(
    folder: Path,
    level: str,
    compiler: Sequence[str],
    *,
    machine: str | None = None,
    further: Sequence[str] = (),
    seconds: float = COMPILE_SECONDS,
) -> Path:
    """Compile the kernels for one level into `folder`, where they appear all at once.

    Args:
        compiler: its command.
        machine: the kind of machine that it compiles for; this one by default.
        further: more of what the compiler is told.
        seconds: it may take so long.

    Raises:
        OSError, subprocess.SubprocessError: where that fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(level, machine)
    with tempfile.TemporaryDirectory(dir=folder) as workshop:
        made = Path(workshop, path.name)
        command = [*compiler, *FLAGS, *options(level), *further, str(SOURCE), "-o", str(made), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds)
        os.replace(made, path)
    return path
