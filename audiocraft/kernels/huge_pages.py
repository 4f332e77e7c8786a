"""Weights, and the caches of a request, side by side in large pages of memory. A step reads all of them, and looking up
every four kilobytes where they are takes longer than multiplying them."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

LINE = 64
LARGE = 2**21  # bytes of a large page on x86 and most others


def move_to_huge_pages(owners: Iterable[nn.Module]) -> None:
    """Move the buffers of `owners` that are on the CPU into one block of large pages, where the system has them.
    One after the other: there is never more than one of them twice."""
    places = [
        (owner, name, own) for owner in owners for name, own in owner._buffers.items() if own is not None
    ]
    places = [(owner, name, own) for owner, name, own in places if own.device.type == "cpu"]
    arena = block(sum(-(-own.nbytes // LINE) * LINE for _, _, own in places))
    if arena is None:
        return
    start = 0
    for index, (owner, name, own) in enumerate(places):
        moved = arena[start : start + own.nbytes].view(own.dtype).view(own.shape)
        owner._buffers[name] = moved.copy_(own)
        start += -(-own.nbytes // LINE) * LINE
        places[index] = (owner, name, moved)
        del own


class Arena:
    """An arena holds zeros for `parts` tensors of one size, side by side in large pages where the system has them.
    Memory is taken as it is written."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._pieces: Iterator[Tensor] | None = None

    def zeros(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the next tensor; only the first decides how large they are."""
        size = math.prod(shape) * dtype.itemsize
        if self._pieces is None:
            stride = -(-size // LINE) * LINE
            arena = block(stride * self._parts) if device.type == "cpu" else None
            self._pieces = iter(() if arena is None else arena.split(stride))
        piece = next(self._pieces, None)
        if piece is None or size > len(piece):
            return torch.zeros(shape, dtype=dtype, device=device)
        return piece[:size].view(dtype).view(*shape)


def block(size: int) -> Tensor | None:
    """Return `size` bytes of memory that asks for large pages; None where there are none, or so few bytes that it does
    not matter. Memory is taken as it is written."""
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None or size < LARGE:
        return None
    try:
        memory = mmap.mmap(-1, size + LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(advice)
    except OSError:
        return None
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    start = -whole.data_ptr() % LARGE
    return whole[start : start + size]
