"""The functions of the compiled kernels, with the types of their arguments, and what their answers mean."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.kernels import codec_structs as codec
from audiocraft.kernels import structs
from audiocraft.kernels.build import library

logger = logging.getLogger(__name__)

STRUCTS: tuple[type[ctypes.Structure], ...] = (
    structs.Matrix, structs.Norm, structs.Layer, structs.Model, structs.StepInput, structs.TokenHeads, structs.KVView,
    codec.Signal, codec.Step, codec.FusedSteps, codec.Network, codec.RowSpan, codec.Lstm,
    structs.AddedProduct, codec.SymbolTables, structs.Attended,
)  # fmt: skip
"""In the order in which `ac_size_of` counts them."""

_ARGUMENTS: dict[str, tuple[type, ...]] = {
    "ac_lanes": (),
    "ac_panel": (),
    "ac_quantizes": (),
    "ac_size_of": (c_int32,),
    "ac_read": (c_void_p, c_int64, c_int32),
    "ac_linear": (POINTER(structs.Matrix), c_void_p, c_int32, c_void_p, c_int32),
    "ac_attend": (POINTER(structs.Attended), c_int32),
    "ac_feed_forward": (
        POINTER(structs.Matrix), POINTER(structs.Matrix), c_void_p, c_int32, c_int32, c_void_p, c_int32,
    ),
    "ac_forward": (
        POINTER(structs.Model), POINTER(structs.StepInput), POINTER(structs.TokenHeads), c_void_p, c_void_p,
    ),
    "ac_network": (POINTER(codec.Network), POINTER(codec.RowSpan), c_int64, c_int32),
    "ac_networks": (POINTER(codec.Network), c_void_p, c_int64, c_void_p, c_int32, c_int32),
    "ac_network_needs": (POINTER(codec.Network), c_int64, c_int64, c_int64, POINTER(codec.RowRange)),
    "ac_lstm_room": (c_int32,),
    "ac_lstm_pack": (c_int32, c_void_p, c_void_p),
    "ac_lstm": (POINTER(codec.Lstm), c_void_p, c_void_p, c_void_p, c_void_p, c_int32, c_int32, c_int32),
    "ac_read_codes": (
        POINTER(codec.SymbolTables), c_char_p, c_int64, c_int32, c_int32, c_int32, c_int32, c_int32, c_void_p,
    ),
}  # fmt: skip

_ANSWERS = (
    "", "", "", "this matrix", "these transformer layers", "the tokens of this step", "these caches",
    "these tables and heads of codes", "these codec layers", "this stretch of a signal", "this LSTM", "these arguments",
    "these tables of codes",
)  # fmt: skip
"""What an answer of c/structs.h refuses, from its third on."""

_DAMAGES = {
    -1: "a block of codes ends too early",
    -2: "a block of codes does not end where it should",
    -3: "the first frame of a block repeats what is not there",
}
_NO_MEMORY, _BAD_CODE = 1, 2


@dataclass(frozen=True, slots=True)
class Kernels:
    """This object calls the compiled kernels of this machine. Every call looks at its arguments before it computes
    anything.

    Args:
        call: the library.
        lanes: floats in a vector; the widths of heads and matrices must be multiples.
        panel: columns of a codec's weights that lie together.
        quantizes_activations: 8- and 4-bit weights meet inputs that are rounded to 8 bits, in groups of 64.
    """

    call: ctypes.CDLL
    lanes: int
    panel: int
    quantizes_activations: bool

    def linear(self, matrix: structs.Matrix, x: Tensor) -> Tensor:
        """Multiply x [N, cols] by a packed matrix [rows, cols] -> [N, rows]; both are float32 and contiguous."""
        assert x.is_contiguous() and x.dtype == torch.float32 and x.shape[-1] == matrix.cols
        out = x.new_empty(x.shape[0], matrix.rows)
        threads = torch.get_num_threads()
        _check(self.call.ac_linear(byref(matrix), x.data_ptr(), x.shape[0], out.data_ptr(), threads))
        return out

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: int = -1, shared: int = 0) -> Tensor:
        """Attend with query [B, H, S, D] to key and value [B, H or fewer, L, D]; the result is [B, H, S, D].

        Args:
            context: steps to either side that a step sees; all if negative.
            shared: the first steps, which see all and are seen by all.
        """
        rows, heads, steps, dim = query.shape
        out = query.new_empty(rows, steps, heads, dim)
        parts = (query, key, value)
        assert all(part.stride(-1) == 1 and part.dtype == torch.float32 for part in parts)
        job = structs.Attended(
            *(part.data_ptr() for part in (*parts, out)),
            *(rows, heads, heads // key.shape[1], steps, key.shape[2], dim),
            *(stride for part in parts for stride in part.stride()[:3]),
            *(context, shared),
        )
        _check(self.call.ac_attend(byref(job), torch.get_num_threads()))
        return out.transpose(1, 2)

    def feed_forward(self, up: structs.Matrix, down: structs.Matrix, x: Tensor, activation: int) -> Tensor:
        """Run x [N, cols of up] through two matrices, with an activation in between -> [N, rows of down]; both are
        float32 and contiguous."""
        assert x.is_contiguous() and x.dtype == torch.float32 and x.shape[-1] == up.cols
        out = x.new_empty(x.shape[0], down.rows)
        threads = torch.get_num_threads()
        addresses = byref(up), byref(down), x.data_ptr(), len(x), activation, out.data_ptr()
        _check(self.call.ac_feed_forward(*addresses, threads))
        return out

    def read(self, data: Tensor) -> None:
        """Read `data`, whose size is a multiple of a megabyte, from memory, to measure how fast that goes."""
        _check(self.call.ac_read(data.data_ptr(), data.nbytes, torch.get_num_threads()))

    def forward(
        self,
        model: structs.Model,
        step: structs.StepInput,
        heads: structs.TokenHeads | None = None,
        codes: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> None:
        """Run all layers for the tokens of `step`; with `heads`, from codes [N, K] to logits [N, K, V]."""
        given = None if heads is None else byref(heads)
        addresses = structs.address(codes), structs.address(logits)
        _check(self.call.ac_forward(byref(model), byref(step), given, *addresses))

    def network(self, network: codec.Network, span: codec.RowSpan, chunk: int) -> None:
        """Make one span of a codec's output, `chunk` rows of it at a time."""
        _check(self.call.ac_network(byref(network), byref(span), chunk, torch.get_num_threads()))

    def networks(self, network: codec.Network, x: Tensor, out: Tensor) -> None:
        """Run a network over many short inputs: x [B, T, D] -> out [B, T', D'], contiguous; each is the task of
        one thread."""
        threads = torch.get_num_threads()
        answer = self.call.ac_networks(
            byref(network), x.data_ptr(), x.shape[1], out.data_ptr(), len(x), threads
        )
        _check(answer)

    def network_needs(self, network: codec.Network, length: int, low: int, high: int) -> tuple[int, int]:
        """Return the first row of the input, and the one after the last, that rows low ... high - 1 of the output
        hear."""
        needed = codec.RowRange()
        _check(self.call.ac_network_needs(byref(network), length, low, high, byref(needed)))
        return int(needed.low), int(needed.high)

    def pack_lstm(self, w_back: Tensor) -> Tensor:
        """Pack the weights [4 * D, D] of an LSTM's state as `lstm` reads them."""
        w_back = w_back.detach().contiguous()
        width = w_back.shape[1]
        packed = w_back.new_empty(self.call.ac_lstm_room(width) // w_back.itemsize)
        _check(self.call.ac_lstm_pack(width, w_back.data_ptr(), packed.data_ptr()))
        return packed

    def lstm(
        self, weights: Sequence[Tensor], back: Tensor, x: Tensor, hidden: Tensor, cell: Tensor
    ) -> Tensor:
        """Run one layer over x [T, B, D] -> [T, B, D']; hidden and cell [B, D'] go on in place.

        Args:
            weights: of the inputs, of the state, and their biases, as `nn.LSTM` has them.
            back: those of the state, packed by `pack_lstm`.
        """
        w_in, _, *biases = (weight.detach().contiguous() for weight in weights)
        bias = biases[0] + biases[1]
        x = x.contiguous()
        steps, rows, _ = x.shape
        out = x.new_empty(steps, rows, hidden.shape[1])
        layer = codec.Lstm(hidden.shape[1], w_in.shape[1], w_in.data_ptr(), bias.data_ptr(), back.data_ptr())
        addresses = (tensor.data_ptr() for tensor in (x, hidden, cell, out))
        _check(self.call.ac_lstm(byref(layer), *addresses, steps, rows, torch.get_num_threads()))
        return out

    def read_codes(
        self,
        tables: codec.SymbolTables,
        content: bytes,
        shape: tuple[int, int, int],
        *,
        context: bool,
        whole: bool = True,
    ) -> Tensor:
        """Read the codes [S, K, T] of this shape that `content` holds.

        Args:
            context: by the context model of `tables`; by their intervals otherwise.
            whole: no frames follow these in `content`.

        Raises:
            ValueError: no encoder wrote it.
        """
        streams, books, frames = shape
        out = torch.empty(frames, streams, books, dtype=torch.int32)
        answer = self.call.ac_read_codes(
            byref(tables), content, len(content), context, streams, books, frames, whole, out.data_ptr()
        )
        if answer < 0:
            raise ValueError(_DAMAGES[answer])
        _check(answer)
        return out.permute(1, 2, 0)


def bind(found: ctypes.CDLL) -> Kernels | None:
    """Return the functions of a library, or None where its structs are not those of this module."""
    for name, arguments in _ARGUMENTS.items():
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, c_int
    for index, struct in enumerate(STRUCTS):
        theirs, ours = found.ac_size_of(index), ctypes.sizeof(struct)
        if theirs != ours:
            message = "the CPU kernels in %s have a %s of %d bytes, not %d: decoding runs in torch"
            logger.warning(message, found._name, struct.__name__, theirs, ours)
            return None
    return Kernels(found, found.ac_lanes(), found.ac_panel(), bool(found.ac_quantizes()))


@cache
def kernels() -> Kernels | None:
    """Return the kernels of this machine, or None where there are none."""
    found = library()
    return None if found is None else bind(found)


def _check(answer: int) -> None:
    """Raise what an answer of the kernels means."""
    if answer == 0:
        return
    if answer == _NO_MEMORY:
        raise MemoryError("there is not enough memory for the CPU kernels; try fewer rows or a shorter piece")
    if answer == _BAD_CODE:
        raise IndexError("a code is outside the tables of the model")
    raise InvalidInput(
        f"the CPU kernels refuse {_ANSWERS[answer]}: sizes do not fit together, or are too large; "
        "AUDIOCRAFT_NATIVE=0 computes in torch"
    )
