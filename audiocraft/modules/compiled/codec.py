"""A convolutional codec as the kernels see it: signals, and the steps that make one from another.

What cannot run there (other activations, norms of the signal, other paddings) runs in torch, layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ctypes import POINTER, cast
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from audiocraft.kernels.bindings import Kernels
from audiocraft.kernels.codec_structs import MOST_SIGNALS, FusedSteps, Network, RowSpan, Signal, Step
from audiocraft.modules.compiled.codec_weights import Unsupported, check, packed_weight
from audiocraft.modules.derived import Derived

_ZEROS, _REFLECT = 0, 1
_RAW, _ACTIVE = 0, 1
_ELU, _GELU = 1, 2
_ENDLESS = 1 << 36  # frames; the kernels speak of signals up to 2^50 samples
_NARROW = 4  # columns that are not worth a panel

_TILE_BYTES = 512 << 10  # of what one tile makes, so that it stays in the second cache
_LIGHT = 320 << 10  # floats: steps with more of them do not share a tile with others
_PIECE_BYTES = 24 << 20  # of what groups of steps pass on to each other
_ROWS_ALONE, _PANELS_ALONE = 256, 4


@dataclass(slots=True)
class _Buffer:
    """This record holds one signal: its rows for each row of the input, the planes that are read, and what lies beyond
    its ends."""

    channels: int
    rate: float
    planes: set[int] = field(default_factory=set)
    activation: int = 0  # of the active plane
    pad: int | None = None
    reach: int = 0  # rows that a reflection at an end needs
    reach_left: int = 0  # at the beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class _Op:
    """This record holds one step; c/structs.h says what its numbers mean."""

    source: int
    reads: int
    target: int
    taps: int = 1
    hop: int = 1
    inner: int
    stride: int = 1
    left: int
    span: int
    up: int = 1
    trim: int = 0
    columns: int
    narrow: bool = False
    packed: Tensor  # the weight, and the bias at its end
    add: int = -1


class _Padding(NamedTuple):
    """This record says which rows beyond the two ends a convolution reads, and what is there."""

    left: int
    right: int
    pad: int


class Chain:
    """A chain holds the layers between the LSTMs of a codec, described as steps over signals."""

    def __init__(self, kernels: Kernels, channels: int) -> None:
        self._kernels = kernels
        self._panel = kernels.panel
        self._signals = [_Buffer(channels, 1.0)]
        self._units: list[list[_Op]] = []  # steps that only hand on what the last of them makes
        self._pending = 0  # an activation was met, and what follows reads what it makes

    def activate(self, layer: nn.Module) -> None:
        """Add ELU or GELU; what follows reads its output."""
        if self._pending:
            raise Unsupported
        if type(layer) is nn.ELU and layer.alpha == 1.0:
            self._pending = _ELU
        elif type(layer) is nn.GELU and layer.approximate == "none":
            self._pending = _GELU
        else:
            raise Unsupported

    def conv(self, layer: Any) -> None:
        """Add a `StreamableConv1d`."""
        source, reads = self._current()
        self._units.append([self._streamable(layer, source, reads)])

    def same(self, conv: nn.Conv1d, packed: Derived) -> None:
        """Add a plain convolution with as many zeros at the ends as keep the length."""
        source, reads = self._current()
        check(conv)
        left = (conv.kernel_size[0] - 1) * conv.dilation[0] // 2
        if conv.padding != (left,) or conv.padding_mode != "zeros" or conv.stride != (1,):
            raise Unsupported
        self._units.append([self._conv(conv, packed, _Padding(left, left, _ZEROS), source, reads)])

    def upsample(self, layer: Any) -> None:
        """Add a `StreamableConvTranspose1d`, each of whose samples depends on two frames."""
        source, reads = self._current()
        conv, stride = layer.convtr.convtr, layer.stride
        check(conv, layer.convtr.norm)
        if conv.kernel_size[0] != 2 * stride:
            raise Unsupported

        def pack(weight: Tensor) -> Tensor:  # [D, D', 2 * stride] -> [2 * D, stride * D']
            now, before = weight.transpose(1, 2).split(stride, dim=1)
            return torch.cat([before, now]).flatten(1)

        channels = conv.out_channels
        self._read(source, reads, _ZEROS, 1, 1)
        packed = packed_weight(layer.packed, conv, pack, self._panel, repeat=stride)
        self._signals.append(_Buffer(channels, self._signals[source].rate * stride))
        step = _Op(
            source=source,
            reads=reads,
            target=len(self._signals) - 1,
            inner=2 * conv.in_channels,
            left=1,
            span=2,
            up=stride,
            trim=layer.trim_left,
            columns=stride * channels,
            packed=packed,
        )
        self._units.append([step])

    def residual(self, layer: Any) -> None:
        """Add a `SEANetResnetBlock`."""
        if self._pending:
            raise Unsupported
        start = len(self._signals) - 1
        steps: list[_Op] = []
        kept = start
        if type(layer.shortcut) is not nn.Identity:
            steps.append(self._streamable(layer.shortcut, start, _RAW))
            kept = len(self._signals) - 1
        current, convs = start, list(layer.block)[1::2]
        for index, (activation, conv) in enumerate(zip(list(layer.block)[::2], convs, strict=True)):
            self.activate(activation)
            source, reads = self._current(current)
            last = index == len(convs) - 1
            steps.append(self._streamable(conv, source, reads, add=kept if last else -1))
            current = len(self._signals) - 1
        self._units.append(steps)

    def run(self, x: Tensor) -> Tensor | None:
        """Run x [B, T, D] -> [B, T', D'], both contiguous; None where the clip is too short for its paddings."""
        steps = self._steps()
        lengths = self._lengths(steps, x.shape[1])
        if any(length <= made.reach for length, made in zip(lengths, self._signals, strict=True)):
            return None
        out = x.new_empty(x.shape[0], lengths[-1], self._signals[-1].channels)
        if len(x) > 1 and self._inside_bytes(steps) * lengths[-1] <= _TILE_BYTES:
            network = self._network(steps, [(0, len(steps))], lengths[-1])
            self._kernels.networks(network, x, out)
            return out
        groups = self._groups()
        network = self._network(steps, groups)
        chunk = self._chunk(steps, groups)
        for row, made in zip(x, out, strict=True):
            span = RowSpan(row.data_ptr(), made.data_ptr(), 0, x.shape[1], 0, lengths[-1])
            self._kernels.network(network, span, chunk)
        return out

    @property
    def channels(self) -> int:
        """Return how many channels the output has."""
        return self._signals[-1].channels

    def check(self) -> None:
        """Raise Unsupported where the kernels cannot run the layers as they follow one another."""
        self._steps()

    def length_after(self, length: int) -> int:
        """Count the rows of the output of an input of `length` rows."""
        return self._lengths(self._steps(), length)[-1]

    def run_piece(self, x: Tensor, first: int, low: int, high: int, *, last: bool) -> Tensor | None:
        """Return rows low ... high - 1 of the output, of an input of which x [B, n, D] is here, from row `first` on.

        Args:
            last: nothing follows x; else the rows asked for hear nothing that follows. None where the input is too
                short for the paddings at its end.
        """
        steps, groups = self._steps(), self._groups()
        heard = first + x.shape[1]
        lengths = self._lengths(steps, heard)
        if any(
            length <= (made.reach if last else made.reach_left)
            for length, made in zip(lengths, self._signals, strict=True)
        ):
            return None
        out = x.new_empty(x.shape[0], high - low, self.channels)
        network, chunk = self._network(steps, groups), self._chunk(steps, groups)
        for row, made in zip(x, out, strict=True):
            span = RowSpan(row.data_ptr(), made.data_ptr(), first, heard, low, high)
            self._kernels.network(network, span, chunk)
        return out

    def first_needed(self, row: int) -> int:
        """Find the first row of the input on which row `row` of the output, and those behind it, depend."""
        steps = self._steps()
        network = self._network(steps, [(0, len(steps))], 1)
        return self._kernels.network_needs(network, _ENDLESS, row, row + 1)[0]

    def _steps(self) -> list[_Op]:
        steps = [step for unit in self._units for step in unit]
        self._signals[-1].planes.add(_RAW)
        if self._pending or not steps or steps[-1].up != 1 or len(self._signals) > MOST_SIGNALS:
            raise Unsupported
        return steps

    def _current(self, source: int | None = None) -> tuple[int, int]:
        """Return what the next layer reads: a signal, by default the last one, and which plane of it."""
        kind, self._pending = self._pending, 0
        index = len(self._signals) - 1 if source is None else source
        signal = self._signals[index]
        if kind:
            if signal.activation not in (0, kind):
                raise Unsupported
            signal.activation = kind
        return index, _ACTIVE if kind else _RAW

    def _read(self, signal: int, plane: int, pad: int, left: int, right: int) -> None:
        made = self._signals[signal]
        made.planes.add(plane)
        reach = max(left, right)
        if reach == 0:
            return
        if made.pad not in (None, pad):
            raise Unsupported
        made.pad = pad
        if pad == _REFLECT:
            made.reach, made.reach_left = max(made.reach, reach), max(made.reach_left, left)

    def _streamable(self, layer: Any, source: int, reads: int, add: int = -1) -> _Op:
        if layer.pad_mode not in ("constant", "reflect"):
            raise Unsupported
        pad = _REFLECT if layer.pad_mode == "reflect" else _ZEROS
        left = layer.padding_total - layer.padding_right
        ends = _Padding(left, layer.padding_right + layer.stride - 1, pad)
        check(layer.conv.conv, layer.conv.norm)
        return self._conv(layer.conv.conv, layer.packed, ends, source, reads, add)

    def _conv(self, conv: Any, kept: Derived, ends: _Padding, source: int, reads: int, add: int = -1) -> _Op:
        if conv.groups != 1:
            raise Unsupported
        kernel, dilation, stride, channels = (
            conv.kernel_size[0],
            conv.dilation[0],
            conv.stride[0],
            conv.out_channels,
        )
        self._read(source, reads, ends.pad, ends.left, ends.right)
        if add >= 0:
            self._signals[add].planes.add(_RAW)
        joined = dilation == 1
        inner = conv.in_channels * (kernel if joined else 1)
        narrow = channels <= _NARROW and joined and add < 0

        def pack(weight: Tensor) -> Tensor:  # [D', D, kernel] -> [kernel * D, D']
            return weight.permute(2, 1, 0).flatten(0, 1)

        packed = packed_weight(kept, conv, pack, 0 if narrow else self._panel)
        self._signals.append(_Buffer(channels, self._signals[source].rate / stride))
        return _Op(
            source=source,
            reads=reads,
            target=len(self._signals) - 1,
            taps=1 if joined else kernel,
            hop=dilation,
            inner=inner,
            stride=stride,
            left=ends.left,
            span=(kernel - 1) * dilation + 1,
            columns=channels,
            narrow=narrow,
            packed=packed,
            add=add,
        )

    def _lengths(self, steps: Iterable[_Op], length: int) -> list[int]:
        lengths = [length] * len(self._signals)
        for step in steps:
            lengths[step.target] = -(-lengths[step.source] // step.stride) * step.up
        return lengths

    def _groups(self) -> list[tuple[int, int]]:
        """Return the first step and the one after the last of each group: light units share tiles, heavy steps are on
        their own."""
        groups: list[tuple[int, int]] = []
        at, open_ = 0, False
        for unit in self._units:
            light = all(step.packed.numel() <= _LIGHT for step in unit)
            if light and open_:
                groups[-1] = (groups[-1][0], at + len(unit))
            elif light:
                groups.append((at, at + len(unit)))
            else:
                groups += [(at + i, at + i + 1) for i in range(len(unit))]
            open_ = light
            at += len(unit)
        return groups

    def _row_bytes(self, signal: int) -> int:
        made = self._signals[signal]
        return 4 * made.channels * len(made.planes)

    def _chunk(self, steps: Sequence[_Op], groups: Iterable[tuple[int, int]]) -> int:
        """Return rows of the output for which what groups pass on to each other fits in the last cache."""
        kept = [0, *(steps[last - 1].target for _, last in groups)]
        each = sum(self._row_bytes(signal) * self._signals[signal].rate for signal in kept[:-1])
        return max(1, int(_PIECE_BYTES / each * self._signals[-1].rate))

    def _network(
        self, steps: Sequence[_Op], groups: Sequence[tuple[int, int]], rows: int | None = None
    ) -> Network:
        """Return the network as the kernels read it; `rows` of a tile, where the caller knows better."""

        def signal(made: _Buffer) -> Signal:
            active = made.activation if _ACTIVE in made.planes else 0
            return Signal(made.channels, _RAW in made.planes, active, made.pad or _ZEROS)

        signals = (Signal * len(self._signals))(*map(signal, self._signals))
        described = (Step * len(steps))(*(self._described(step) for step in steps))
        parts = (FusedSteps * len(groups))(
            *(FusedSteps(first, last, *self._tile(steps[first:last], rows)) for first, last in groups)
        )
        return Network(
            len(signals),
            len(described),
            len(parts),
            cast(signals, POINTER(Signal)),
            cast(described, POINTER(Step)),
            cast(parts, POINTER(FusedSteps)),
        )

    def _described(self, step: _Op) -> Step:
        values = {name: getattr(step, name) for name, _ in Step._fields_[:-2]}
        size = step.taps * step.inner * self._wide(step)
        weight = step.packed.data_ptr()
        return Step(**values, weight=weight, bias=weight + 4 * size)

    def _wide(self, step: _Op) -> int:
        return step.columns if step.narrow else -(-step.columns // self._panel) * self._panel

    def _tile(self, steps: Sequence[_Op], rows: int | None) -> tuple[int, int]:
        """Return rows of a tile, and panels where the step is alone."""
        if len(steps) == 1:
            return rows or _ROWS_ALONE, _PANELS_ALONE
        return rows or max(16, int(_TILE_BYTES / self._inside_bytes(steps))), 1

    def _inside_bytes(self, steps: Sequence[_Op]) -> float:
        """Return what is made on the way to a row of the last step's target."""
        rate = self._signals[steps[-1].target].rate
        inside = [self._signals[step.target] for step in steps[:-1]]
        return sum(4 * made.channels * len(made.planes) * made.rate / rate for made in inside)
