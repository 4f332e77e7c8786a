"""How much memory there is, and the refusal of what would not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from audiocraft.errors import OutOfMemoryEstimate

__all__ = ["OutOfMemoryEstimate", "available_bytes", "gigabytes", "most_used"]


def available_bytes(device: torch.device, root: Path = Path("/")) -> int | None:
    """Return how many bytes of memory can still be allocated on `device`; None where the system does not say.

    Args:
        root: where the file systems /proc and /sys are.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [*_free_of_machine(root), *_free_of_group(root)]
    return max(0, min(limits)) if limits else None


def most_used(device: torch.device) -> int:
    """Return the most memory that this process has held on `device` so far; 0 where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return next(
        (
            int(line.split()[1]) * 1024
            for line in _lines(Path("/proc/self/status"))
            if line.startswith("VmHWM:")
        ),
        0,
    )


def gigabytes(count: int) -> str:
    """Return a number of bytes as people read it, in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def _free_of_machine(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _free_of_group(root: Path) -> Iterator[int]:
    """Yield what each control group around this process leaves: limits of containers, of both versions."""
    groups = root / "sys/fs/cgroup"
    own = next(
        (line.split("::", 1)[1] for line in _lines(root / "proc/self/cgroup") if line.startswith("0::")), "/"
    )
    folder = groups / own.strip("/")
    for place in (folder, *folder.parents):
        if not place.is_relative_to(groups):
            break
        yield from _left(place / "memory.max", place / "memory.current", place / "memory.stat")
    old = groups / "memory"
    yield from _left(old / "memory.limit_in_bytes", old / "memory.usage_in_bytes", old / "memory.stat")


def _left(limit: Path, used: Path, stat: Path) -> Iterator[int]:
    most, now = _lines(limit), _lines(used)
    if most and now and most[0].isdigit() and now[0].isdigit():
        cached = sum(int(line.split()[1]) for line in _lines(stat) if line.startswith("inactive_file "))
        yield int(most[0]) - int(now[0]) + cached


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
