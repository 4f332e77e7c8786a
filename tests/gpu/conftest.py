"""The device that these tests run on: a real GPU where there is one, the pretend one elsewhere."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from . import stand_ins
from .pretend import READ, Count, PretendGpu, Wait, library_frames

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
                count.waits.append(Wait(READ, "synchronizing operation", where))

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


def same(left: Tensor, right: Tensor) -> bool:
    """Whether both hold the same values, wherever they are."""
    return bool(torch.equal(left.cpu(), right.cpu()))
