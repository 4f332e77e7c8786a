"""The structs of c/structs.h that describe a codec's layers, field by field."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int32, c_int64, c_void_p

LSTM_UNITS = 32
"""The units of an LSTM's state that one task makes; the width of the state must be a multiple."""

MOST_SIGNALS = 96
"""The signals that one network may have."""


class Signal(ctypes.Structure):
    """This structure describes rows [time, channels]: whether they are kept as they are, and after which activation,
    and how ends are padded."""

    _fields_ = (("channels", c_int32), ("raw", c_int32), ("active", c_int32), ("pad", c_int32))


class Step(ctypes.Structure):
    """This structure describes a product of overlapping rows of one signal with a float32 matrix, which makes rows of
    another signal."""

    _fields_ = (
        ("source", c_int32), ("reads", c_int32), ("target", c_int32), ("add", c_int32),
        ("taps", c_int32), ("hop", c_int32), ("inner", c_int32), ("stride", c_int32), ("left", c_int32),
        ("span", c_int32), ("up", c_int32), ("trim", c_int32), ("columns", c_int32), ("narrow", c_int32),
        ("weight", c_void_p), ("bias", c_void_p),
    )  # fmt: skip


class FusedSteps(ctypes.Structure):
    """This structure names the steps first ... last - 1, which share tiles of `rows` rows of what the last of them
    makes."""

    _fields_ = (("first", c_int32), ("last", c_int32), ("rows", c_int32), ("panels", c_int32))


class Network(ctypes.Structure):
    """This structure holds signals, the steps between them in order, and the groups of these steps."""

    _fields_ = (
        ("signals", c_int32), ("steps", c_int32), ("groups", c_int32),
        ("signal", POINTER(Signal)), ("step", POINTER(Step)), ("group", POINTER(FusedSteps)),
    )  # fmt: skip


class RowSpan(ctypes.Structure):
    """This structure names the rows low ... high - 1 of the output, of an input of `length` rows that is at `x` from
    row `first` on."""

    _fields_ = (
        ("x", c_void_p), ("out", c_void_p),
        ("first", c_int64), ("length", c_int64), ("low", c_int64), ("high", c_int64),
    )  # fmt: skip


class RowRange(ctypes.Structure):
    """This structure names the rows low ... high - 1 of a signal."""

    _fields_ = (("low", c_int64), ("high", c_int64))


class Lstm(ctypes.Structure):
    """This structure holds one LSTM layer: float32 weights of the input, the sum of the biases, and packed weights of
    the state."""

    _fields_ = (
        ("width", c_int32), ("input", c_int32), ("w_in", c_void_p), ("bias", c_void_p), ("back", c_void_p),
    )  # fmt: skip


class SymbolTables(ctypes.Structure):
    """This structure says how likely the symbols of a codec's codes are, in 32 bits each; without a context model its
    fields are 0."""

    _fields_ = (
        ("codebooks", c_int32), ("symbols", c_int32), ("width", c_int32), ("hidden", c_int32), ("frames", c_int32),
        ("starts", c_void_p), ("embed", c_void_p), ("past", c_void_p), ("same", c_void_p), ("hidden_bias", c_void_p),
        ("out", c_void_p), ("out_bias", c_void_p),
    )  # fmt: skip
