"""The structs of c/structs.h that describe a transformer, field by field.

Pointers are plain addresses: whoever fills a struct keeps the tensors that lie there alive until the call is over.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_float, c_int32, c_void_p

from torch import Tensor

KINDS = {"fp32": 0, "bf16": 1, "fp16": 2, "int8": 3, "int4": 4, "int8 panels": 5, "int4 panels": 6}
"""The number formats of a matrix, as the enum in c/structs.h counts them."""

GROUP = 64
"""The weights of a row that share a scale, in 8 and 4 bits."""

PANEL = 32
"""The rows of a matrix that are interleaved with each other in panels."""


WIDEST = 1 << 24
"""The rows and columns that a matrix may have; c/checks.h refuses larger ones."""


class Matrix(ctypes.Structure):
    """This structure describes a weight [rows, cols] in one of `KINDS`, with an optional float32 bias [rows]."""

    _fields_ = (
        ("kind", c_int32), ("rows", c_int32), ("cols", c_int32),
        ("data", c_void_p), ("scales", c_void_p), ("bias", c_void_p),
    )  # fmt: skip


class Norm(ctypes.Structure):
    """This structure holds the float32 weight and bias [width] of a layer norm."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class Layer(ctypes.Structure):
    """This structure holds the norms and matrices of one pre-norm transformer layer; those of cross-attention may be
    empty."""

    _fields_ = (
        ("norm1", Norm), ("norm_cross", Norm), ("norm2", Norm),
        ("qkv", Matrix), ("out", Matrix), ("cross_q", Matrix), ("cross_out", Matrix),
        ("up", Matrix), ("down", Matrix),
    )  # fmt: skip


class Model(ctypes.Structure):
    """This structure describes a stack of equal layers. `past_context` counts the earlier positions that a token sees,
    all if negative."""

    _fields_ = (
        ("layers", c_int32), ("width", c_int32), ("heads", c_int32), ("kv_heads", c_int32),
        ("head_dim", c_int32), ("hidden", c_int32), ("activation", c_int32), ("crosses", c_int32),
        ("past_context", c_int32), ("eps", c_float), ("layer", POINTER(Layer)),
    )  # fmt: skip


class TokenHeads(ctypes.Structure):
    """This structure holds what surrounds the layers of a language model: code tables, sines of positions, the last
    norm, the heads."""

    _fields_ = (
        ("codebooks", c_int32), ("entries", c_int32), ("has_sines", c_int32), ("has_norm", c_int32),
        ("sines", c_float), ("periods", c_void_p), ("tables", c_void_p), ("norm", Norm),
        ("heads", POINTER(Matrix)),
    )  # fmt: skip


class KVView(ctypes.Structure):
    """This structure holds the cached keys and values of one layer of one request. It travels as a row of int64
    numbers, `KV_FIELDS`."""

    _fields_ = (
        ("keys", c_void_p), ("values", c_void_p), ("row", ctypes.c_int64), ("head", ctypes.c_int64),
        ("step", ctypes.c_int64), ("rows", ctypes.c_int64), ("length", ctypes.c_int64), ("kind", ctypes.c_int64),
    )  # fmt: skip


KV_FIELDS = tuple(name for name, *_ in KVView._fields_)


class StepInput(ctypes.Structure):
    """This structure holds the tokens of one step: which request, row and position each has, where the caches are, and
    their vectors x."""

    _fields_ = (
        ("tokens", c_int32), ("threads", c_int32), ("parts", c_int32),
        ("part", c_void_p), ("row", c_void_p), ("position", c_void_p),
        ("rotate_q", c_void_p), ("rotate_k", c_void_p), ("past", c_void_p), ("source", c_void_p), ("x", c_void_p),
        ("adapters", c_void_p),
    )  # fmt: skip


class AddedProduct(ctypes.Structure):
    """This structure says what is added to the product of one matrix of a layer: b . (a . x), of a [rank, cols] and b
    [rows, rank]."""

    _fields_ = (("rank", c_int32), ("a", c_void_p), ("b", c_void_p))


class Attended(ctypes.Structure):
    """This structure holds queries, keys and values of whole sequences, with their strides, and which of them see each
    other."""

    _fields_ = (
        ("query", c_void_p), ("key", c_void_p), ("value", c_void_p), ("out", c_void_p),
        *((name, ctypes.c_int64) for name in ("rows", "heads", "repeat", "steps", "length", "dim")),
        *((f"{part}_{name}", ctypes.c_int64) for part in ("query", "key", "value") for name in ("row", "head", "step")),
        ("context", ctypes.c_int64), ("shared", ctypes.c_int64),
    )  # fmt: skip


ADAPTABLE = ("qkv", "out", "cross_q", "cross_out", "up", "down")
"""The matrices of a `Layer` that have a `AddedProduct` each, in this order, where a request is adapted."""


def address(tensor: Tensor | None) -> int | None:
    """Return the address of a contiguous tensor's first element; None for no tensor."""
    return None if tensor is None else tensor.data_ptr()
