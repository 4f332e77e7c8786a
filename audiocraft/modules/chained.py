"""Layers in a row, as SEANet has them: over a whole sequence or piece by piece, in our kernels where they know the
layers, else in torch. Both give the same sequence, and pieces give that of the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.kernels.bindings import Kernels
from audiocraft.modules.backend import is_watched, kernels_for, machine_kernels
from audiocraft.modules.compiled.codec import Chain
from audiocraft.modules.compiled.codec_weights import Unsupported, forget
from audiocraft.modules.lstm import LSTMState, StreamableLSTM
from audiocraft.modules.streaming import StreamingModule

LayerHandlers = Mapping[type[nn.Module], Callable[[Chain, Any], None]]
"""How each kind of layer is added to a chain; others are activations."""


@dataclass(slots=True)
class StreamBuffer:
    """This record holds what a chain keeps of its input from one piece to the next.

    Args:
        rows: [B, n, D], those on which later output depends.
        first: place of the first of them in the sequence.
        made: rows of the output that were returned.
    """

    rows: Tensor | None = None
    first: int = 0
    made: int = 0


@dataclass(slots=True)
class LayersState:
    """This record holds what layers in a row remember from one piece to the next.

    Args:
        layers: one entry each, None where a layer has nothing to remember; for torch.
        parts: one for each chain and each LSTM; for the kernels. The first piece shows where the stream runs.
    """

    layers: list[Any]
    parts: list[StreamBuffer | LSTMState] | None = None
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """This record holds the layers between two LSTMs, as the kernels and torch run them."""

    chain: Chain
    layers: list[nn.Module]


def init_layers(layers: nn.Sequential, batch_size: int) -> list[Any]:
    """Make a state for each layer, None where it has nothing to remember."""
    return [layer.init_state(batch_size) if isinstance(layer, StreamingModule) else None for layer in layers]


def layers_lookahead(layers: Sequence[nn.Module] | nn.Sequential, index: int) -> int:
    """Find the last place of the input that settles place `index` of the output."""
    for layer in reversed(list(layers)):
        index = layer.lookahead(index) if isinstance(layer, StreamingModule) else index
    return index


def step_in_torch(layers: nn.Sequential, x: Tensor, states: list[Any], *, last: bool) -> Tensor:
    """Send one piece through all layers; with `last`, what each layer still held follows it."""
    for layer, state in zip(layers, states, strict=True):
        if not isinstance(layer, StreamingModule):
            x = layer(x)
            continue
        y = layer(x, state=state)
        if last:
            rest = layer.finish(state)
            y = y if rest is None else torch.cat([y, rest], dim=-1)
        x = y
    return x


def run_layers(layers: nn.Sequential, x: Tensor, known: LayerHandlers) -> Tensor:
    """Run the whole sequence x [B, D, L] through all layers."""
    if torch.is_grad_enabled() or layers.training:
        forget(layers)
    kernels = None if layers.training else kernels_for(x)
    parts = None if kernels is None else _parts(kernels, layers, x.shape[1], known)
    y: Tensor | None = None if parts is None else x.transpose(1, 2)
    for part in parts or []:
        if y is not None:
            y = _whole(part, y, kernels)
    return (
        layers(x) if y is None else y.transpose(1, 2)
    )  # None: too short for the kernels, or unknown to them


def _whole(part: Segment | StreamableLSTM, x: Tensor, kernels: Kernels | None) -> Tensor | None:
    """Return the whole sequence x [B, T, D] through one part; None where it is too short for its paddings."""
    if isinstance(part, Segment):
        return part.chain.run(x.contiguous())
    return part.run_frames(x, kernels=kernels)


def step_layers(
    layers: nn.Sequential, x: Tensor, state: LayersState, known: LayerHandlers, *, last: bool
) -> Tensor:
    """Take the next piece x [B, D, n] and return the output [B, D', m] that it settles; with `last`, all that
    remains."""
    kernels = machine_kernels() if state.begun else kernels_for(x)
    parts = None
    if kernels is not None and not layers.training and (state.parts is not None or not state.begun):
        parts = _parts(kernels, layers, x.shape[1], known)
    if not state.begun and x.shape[-1]:
        state.begun = True
        if parts is not None:
            state.parts = [
                StreamBuffer() if isinstance(part, Segment) else part.init_state(x.shape[0]) for part in parts
            ]
    if state.parts is None:
        return step_in_torch(layers, x, state.layers, last=last)
    if parts is None:
        raise InvalidInput("the layers changed in the middle of a stream: begin it anew", field="state")
    y = x.transpose(1, 2)
    for part, own in zip(parts, state.parts, strict=True):
        if isinstance(part, Segment):
            assert isinstance(own, StreamBuffer)
            y = _push(part, y, own, last)
        else:
            assert isinstance(own, LSTMState)
            y = part.run_frames(y, own, kernels=kernels)
    return y.transpose(1, 2)


def _parts(
    kernels: Kernels, layers: nn.Sequential, channels: int, known: LayerHandlers
) -> list[Segment | StreamableLSTM] | None:
    """Return the layers between LSTMs as one chain each, and the LSTMs; None where the kernels do not know them all."""
    parts: list[Segment | StreamableLSTM] = []
    segment: Segment | None = None
    with suppress(Unsupported):
        for layer in layers:
            if any(is_watched(module) for module in layer.modules()):
                return None
            if type(layer) is StreamableLSTM:
                if type(layer.lstm) is not nn.LSTM:
                    return None
                parts.append(layer)
                segment, channels = None, layer.lstm.hidden_size
                continue
            if segment is None:
                segment = Segment(Chain(kernels, channels), [])
                parts.append(segment)
            known.get(type(layer), Chain.activate)(segment.chain, layer)
            segment.layers.append(layer)
        for part in parts:
            if isinstance(part, Segment):
                part.chain.check()
        return parts
    return None


def _push(segment: Segment, x: Tensor, own: StreamBuffer, last: bool) -> Tensor:
    """Take the next rows x [B, n, D] and return the rows [B, m, D'] that they settle."""
    rows = (x if own.rows is None else torch.cat([own.rows, x], dim=1)).contiguous()
    heard = own.first + rows.shape[1]
    most = segment.chain.length_after(heard)
    ready = most if last else _settled(segment.layers, heard, own.made, most)
    own.rows = rows
    if ready <= own.made:
        return rows.new_zeros(rows.shape[0], 0, segment.chain.channels)
    y = segment.chain.run_piece(rows, own.first, own.made, ready, last=last)
    if y is None:  # paddings repeat more than there is, so all of it is here, and torch knows what to do
        y = nn.Sequential(*segment.layers)(rows.transpose(1, 2)).transpose(1, 2)[:, own.made :]
    else:
        needed = segment.chain.first_needed(ready)
        own.rows, own.first = rows[:, max(0, needed - own.first) :].clone(), max(own.first, needed)
    own.made = ready
    return y


def _settled(layers: Sequence[nn.Module], heard: int, low: int, high: int) -> int:
    """Return how many rows of the output, `low` ... `high`, the first `heard` of the input settle."""
    while low < high:
        middle = (low + high + 1) // 2
        if layers_lookahead(layers, middle - 1) < heard:
            low = middle
        else:
            high = middle - 1
    return low
