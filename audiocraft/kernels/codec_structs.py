"""The records of codec.c, field by field, and the LSTM, which needs no more than one of them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from audiocraft.kernels.structs import Kernels

UNITS = 32
"""Of an LSTM's state, which one task makes: its width is a multiple."""


class Signal(ctypes.Structure):
    _fields_ = (("channels", c_int32), ("raw", c_int32), ("active", c_int32), ("pad", c_int32))


class Step(ctypes.Structure):
    _fields_ = (
        ("source", c_int32), ("reads", c_int32), ("target", c_int32), ("add", c_int32),
        ("taps", c_int32), ("hop", c_int32), ("inner", c_int32), ("stride", c_int32), ("left", c_int32),
        ("span", c_int32), ("up", c_int32), ("trim", c_int32), ("columns", c_int32), ("narrow", c_int32),
        ("weight", c_void_p), ("bias", c_void_p),
    )  # fmt: skip


class Group(ctypes.Structure):
    _fields_ = (("first", c_int32), ("last", c_int32), ("rows", c_int32), ("panels", c_int32))


class Network(ctypes.Structure):
    _fields_ = (
        ("signals", c_int32), ("steps", c_int32), ("groups", c_int32),
        ("signal", POINTER(Signal)), ("step", POINTER(Step)), ("group", POINTER(Group)),
    )  # fmt: skip


class Span(ctypes.Structure):
    _fields_ = (
        ("x", c_void_p), ("out", c_void_p),
        ("first", c_int64), ("length", c_int64), ("low", c_int64), ("high", c_int64),
    )  # fmt: skip


class Lstm(ctypes.Structure):
    _fields_ = (
        ("width", c_int32), ("input", c_int32), ("w_in", c_void_p), ("w_back", c_void_p), ("bias", c_void_p),
    )  # fmt: skip


def run_lstm(tool: Kernels, weights: Sequence[Tensor], x: Tensor, hidden: Tensor, cell: Tensor) -> Tensor:
    """One layer over x [T, B, D] -> [T, B, D']; hidden and cell [B, D'] go on in place.

    Args:
        weights: of the inputs, of the state, and their biases, as `nn.LSTM` has them.
    """
    w_in, w_back, *biases = weights
    bias = biases[0] + biases[1]
    x = x.contiguous()
    steps, rows, _ = x.shape
    out = x.new_empty(steps, rows, w_back.shape[1])
    layer = Lstm(w_back.shape[1], w_in.shape[1], w_in.data_ptr(), w_back.data_ptr(), bias.data_ptr())
    failed = tool.call.ac_lstm(
        byref(layer),
        *(c_void_p(tensor.data_ptr()) for tensor in (x, hidden, cell, out)),
        c_int32(steps),
        c_int32(rows),
        c_int32(torch.get_num_threads()),
    )
    if failed:
        raise MemoryError("no memory for an LSTM")
    return out
