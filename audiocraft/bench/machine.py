"""What machine this is, and how fast its memory is: what a decoding step cannot be faster than."""

from __future__ import annotations

import mmap
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from audiocraft.engine.memory import available_bytes
from audiocraft.environment import VERSION
from audiocraft.kernels.bindings import kernels


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """This record describes the machine.

    Args:
        processor: of the CPU, or of the GPU where that is used.
        capability: the vector instructions that torch found.
        free_gb: memory that was free when this was asked.
        read_gb_s: bytes that are read per second from memory.
    """

    processor: str
    device: str
    cores: int
    threads: int
    capability: str
    free_gb: float | None
    read_gb_s: float
    torch: str
    audiocraft: str


def describe(device: torch.device, *, quick: bool = False) -> Machine:
    """Describe this machine; that takes a second, for the memory."""
    free = available_bytes(device)
    gpu = device.type == "cuda"
    return Machine(
        processor=torch.cuda.get_device_name(device) if gpu else _processor(),
        device=str(device),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        capability=torch.backends.cpu.get_cpu_capability(),
        free_gb=None if free is None else round(free / 1e9, 1),
        read_gb_s=round(read_speed(device, megabytes=64 if quick else 512) / 1e9, 2),
        torch=str(torch.__version__),
        audiocraft=VERSION,
    )


def read_speed(device: torch.device, *, megabytes: int) -> float:
    """Return bytes a second that can be read from memory, the best of five: what caches hold is a small part of it."""
    data = torch.ones(megabytes * 2**18, device=device)
    found = kernels() if device.type == "cpu" else None
    best = float("inf")
    for _ in range(5):
        synchronise(device)
        began = time.perf_counter()
        if found is None:
            data.sum()
        else:
            found.read(data)
        synchronise(device)
        best = min(best, time.perf_counter() - began)
    return data.nbytes / best


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(device: torch.device) -> int | None:
    """Return the most memory that this process has had on `device`; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int | None:
    """Return the bytes of memory that this process has now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * mmap.PAGESIZE


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
