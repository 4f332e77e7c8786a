"""The records of kernels.c, field by field, and what the compiled kernels can do."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from audiocraft.kernels.build import library

KINDS = {"fp32": 0, "bf16": 1, "fp16": 2, "int8": 3, "int4": 4, "int8 panels": 5, "int4 panels": 6}
"""Number formats of a matrix, as the enum in kernels.c has them."""


class Matrix(ctypes.Structure):
    _fields_ = (
        ("kind", c_int32), ("rows", c_int32), ("cols", c_int32), ("group", c_int32),
        ("data", c_void_p), ("scales", c_void_p), ("bias", c_void_p),
    )  # fmt: skip


class Norm(ctypes.Structure):
    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class Layer(ctypes.Structure):
    _fields_ = (
        ("norm1", Norm), ("norm_cross", Norm), ("norm2", Norm),
        ("qkv", Matrix), ("out", Matrix), ("cross_q", Matrix), ("cross_out", Matrix),
        ("up", Matrix), ("down", Matrix),
    )  # fmt: skip


class Model(ctypes.Structure):
    _fields_ = (
        ("layers", c_int32), ("width", c_int32), ("heads", c_int32), ("kv_heads", c_int32),
        ("head_dim", c_int32), ("hidden", c_int32), ("activation", c_int32), ("crosses", c_int32),
        ("past_context", c_int32), ("eps", c_float), ("layer", ctypes.POINTER(Layer)),
    )  # fmt: skip


class Pass(ctypes.Structure):
    _fields_ = (
        ("tokens", c_int32), ("threads", c_int32), ("parts", c_int32),
        ("part", c_void_p), ("row", c_void_p), ("position", c_void_p),
        ("turn_q", c_void_p), ("turn_k", c_void_p), ("past", c_void_p), ("source", c_void_p), ("x", c_void_p),
    )  # fmt: skip


class Ends(ctypes.Structure):
    _fields_ = (
        ("codebooks", c_int32), ("entries", c_int32), ("has_sines", c_int32), ("has_norm", c_int32),
        ("sines", c_float), ("periods", c_void_p), ("tables", c_void_p), ("norm", Norm),
        ("heads", ctypes.POINTER(Matrix)),
    )  # fmt: skip


MEMORY_FIELDS = ("keys", "values", "row", "head", "step", "length", "kind")
"""Of the record Memory, which travels as a row of int64 numbers."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """The compiled kernels and what they can do.

    Args:
        lanes: widths must be multiples of this.
        half: there are 16-bit floats of both kinds; without, only bfloat16 weights.
        rounds: 8- and 4-bit weights in groups of 64 meet inputs that are rounded to 8 bits.
    """

    call: ctypes.CDLL
    lanes: int
    half: bool
    rounds: bool

    def linear(self, matrix: Matrix, x: Tensor) -> Tensor:
        """x [N, cols] -> [N, rows]; float32, contiguous."""
        out = x.new_empty(x.shape[0], matrix.rows)
        failed = self.call.ac_linear(
            ctypes.byref(matrix),
            c_void_p(x.data_ptr()),
            c_int32(x.shape[0]),
            c_void_p(out.data_ptr()),
            c_int32(torch.get_num_threads()),
        )
        if failed:
            raise MemoryError("no memory for a product")
        return out

    def read(self, data: Tensor) -> None:
        """Read `data`, whose size is a multiple of a megabyte, from memory: for measuring how fast that goes."""
        self.call.ac_read(c_void_p(data.data_ptr()), c_int64(data.nbytes), c_int32(torch.get_num_threads()))

    def forward(
        self,
        model: Model,
        work: Pass,
        ends: Ends | None = None,
        codes: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> None:
        """All layers, for the tokens of `work`; with `ends`, from codes [N, K] to logits [N, K, V]."""
        failed = self.call.ac_forward(
            ctypes.byref(model),
            ctypes.byref(work),
            None if ends is None else ctypes.byref(ends),
            c_void_p(address(codes)),
            c_void_p(address(logits)),
        )
        if failed == 2:
            raise IndexError("a code is outside the tables of the model")
        if failed:
            raise MemoryError("no memory for a pass")


@cache
def kernels() -> Kernels | None:
    """The kernels of this machine, or None where there are none."""
    found = library()
    if found is None:
        return None
    return Kernels(found, int(found.ac_lanes()), bool(found.ac_has_half()), bool(found.ac_rounds()))


def address(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor is."""
    return None if tensor is None else tensor.data_ptr()
