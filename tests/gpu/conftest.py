"""The device that these tests run on: a real GPU where there is one, the pretend one elsewhere."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from . import stand_ins
from .pretend import READ, UPLOAD, Count, PretendGpu, Wait, library_frames

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = torch.cuda.is_available()


class RealGpu:
    """The same interface over a real device. It counts what torch itself calls a synchronising operation."""

    @contextlib.contextmanager
    def counting(self) -> Iterator[Count]:
        count = Count()
        plain = warnings.showwarning

        def show(message: Any, *args: Any, **kwargs: Any) -> None:
            where = library_frames()
            if "synchronizing CUDA operation" not in str(message):
                plain(message, *args, **kwargs)
            elif where:
                # Torch does not say which way; uploads are elsewhere than the reads that we know.
                kind = READ if where[0] in documented_reads() else UPLOAD
                count.waits.append(Wait(kind, "synchronizing operation", where))

        with warnings.catch_warnings():
            warnings.filterwarnings("always", message=".*synchronizing CUDA operation.*")
            warnings.showwarning = show
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield count
            finally:
                torch.cuda.set_sync_debug_mode("default")

    def synchronize(self) -> None:
        torch.cuda.synchronize()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendGpu | RealGpu]:
    """The GPU, real or pretended. `.to("cuda")` and all of `torch.cuda` work while the test runs."""
    if REAL:
        yield RealGpu()
        return
    device = PretendGpu()
    stand_ins.install(device, monkeypatch)
    with device.active():
        yield device
        device.synchronize()


Device = PretendGpu | RealGpu
STEPS_PER_READ = 8


def check_waits(count: Count, steps: list[int]) -> None:
    """At most one read-back for so many passes of the network, and CPU tensors only where the code says so."""
    assert steps, "the network has run"
    assert count.read_backs * STEPS_PER_READ <= len(steps), (len(steps), count.table())
    assert not count.unsaid, count.unsaid
    unknown = {wait.where[0] for wait in count.waits if wait.kind == READ} - set(documented_reads())
    assert not unknown, f"docs/performance.md does not know that these read from the GPU: {unknown}"


def documented_reads() -> list[str]:
    """The places in the table of docs/performance.md."""
    return re.findall(r"`([a-z_0-9/]+\.py:\w+)`", (REPOSITORY / "docs" / "performance.md").read_text())


def same(left: Tensor, right: Tensor) -> bool:
    """Whether both hold the same values, wherever they are."""
    return bool(torch.equal(left.cpu(), right.cpu()))
