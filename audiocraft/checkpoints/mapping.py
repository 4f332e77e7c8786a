"""Parts of a file as one piece of memory, without reading or copying them: the system shows them side by side."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Sequence
from functools import cache

import torch

_FAILED = ctypes.c_void_p(-1).value
_PAGE = mmap.PAGESIZE


def side_by_side(fd: int, parts: Sequence[tuple[int, int]]) -> tuple[mmap.mmap, int] | None:
    """The `parts` (begin, length) of an open file as one block, and where in the block they begin.

    The block is private memory: writing to it changes copies of its pages, never the file. None where the system
    cannot do it: files are shown in whole pages, so that every part has to begin where the one before ends in its page.
    """
    begin, total = parts[0][0] % _PAGE, sum(length for _, length in parts)
    end = begin
    for start, length in parts:
        if start % _PAGE != end % _PAGE or length < _PAGE:
            return None
        end += length
    place = _system_call()
    if place is None:
        return None
    block = mmap.mmap(-1, begin + total, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = torch.frombuffer(block, dtype=torch.uint8).data_ptr()
    end = begin
    for start, length in parts:
        shift = end % _PAGE
        # The page where two parts meet is the later one's; the end of the earlier one is copied into it.
        before = block[end - shift : end]
        wanted = (base + end - shift, shift + length, mmap.PROT_READ | mmap.PROT_WRITE)
        if place(*wanted, mmap.MAP_PRIVATE | _FIXED, fd, start - shift) == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        if end > begin:
            block[end - shift : end] = before
        end += length
    return block, begin


_FIXED = 0x10
"""Linux's MAP_FIXED, which Python does not name: at exactly this address, in place of what is there."""


@cache
def _system_call() -> ctypes._FuncPointer | None:
    """mmap itself: Python's cannot be told an address."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.restype = ctypes.c_void_p
    numbers = (ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_longlong)
    call.argtypes = (ctypes.c_void_p, *numbers)
    return call
