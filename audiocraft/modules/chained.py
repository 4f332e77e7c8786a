"""Layers in a row, as SEANet has them: over a whole sequence or piece by piece, in our kernels where they know the
layers, else in torch. Both give the same sequence, and pieces give that of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.kernels.structs import Kernels, kernels
from audiocraft.modules.compiled.codec import Chain, can_run
from audiocraft.modules.compiled.codec_weights import Unsupported, forget
from audiocraft.modules.lstm import LSTMState, StreamableLSTM
from audiocraft.modules.streaming import StreamingModule

Known = Mapping[type[nn.Module], Callable[[Chain, Any], None]]
"""How each kind of layer is added to a chain; others are activations."""


@dataclass(slots=True)
class Heard:
    """What a chain keeps of its input from one piece to the next.

    Args:
        rows: [B, n, D], those that later output hears.
        first: place of the first of them in the sequence.
        made: rows of the output that were given.
    """

    rows: Tensor | None = None
    first: int = 0
    made: int = 0


@dataclass(slots=True)
class LayersState:
    """Of layers in a row, piece by piece.

    Args:
        layers: one entry each, None where a layer has nothing to remember; for torch.
        parts: one for each chain and each LSTM; for the kernels. The first piece shows where the stream runs.
    """

    layers: list[Any]
    parts: list[Heard | LSTMState] | None = None
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """Layers between two LSTMs, for the kernels and for torch."""

    chain: Chain
    layers: list[nn.Module]


def init_layers(layers: nn.Sequential, batch_size: int) -> list[Any]:
    """One state for each layer, None where it has nothing to remember."""
    return [layer.init_state(batch_size) if isinstance(layer, StreamingModule) else None for layer in layers]


def layers_need(layers: Sequence[nn.Module] | nn.Sequential, index: int) -> int:
    """The last place of the input that settles place `index` of the output."""
    for layer in reversed(list(layers)):
        index = layer.needs(index) if isinstance(layer, StreamingModule) else index
    return index


def step_in_torch(layers: nn.Sequential, x: Tensor, states: list[Any], *, last: bool) -> Tensor:
    """One piece through all layers; with `last`, what each layer still held follows it."""
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


def run_layers(layers: nn.Sequential, x: Tensor, known: Known) -> Tensor:
    """The whole sequence x [B, D, L] through all layers."""
    if torch.is_grad_enabled() or layers.training:
        forget(layers)
    for parts in _found(layers, x, known):
        y: Tensor | None = x.transpose(1, 2)
        for part in parts:
            if y is not None:
                y = part.chain.run(y.contiguous()) if isinstance(part, Link) else part.run_frames(y)
        if y is not None:  # else it is too short for the kernels
            return y.transpose(1, 2)
    return layers(x)


def step_layers(layers: nn.Sequential, x: Tensor, state: LayersState, known: Known, *, last: bool) -> Tensor:
    """The next piece x [B, D, n] -> the output [B, D', m] that it settles; with `last`, all that remains."""
    if not state.begun and x.shape[-1]:
        state.begun = True
        for parts in _found(layers, x, known):
            state.parts = [
                Heard() if isinstance(part, Link) else part.init_state(x.shape[0]) for part in parts
            ]
    if state.parts is None:
        return step_in_torch(layers, x, state.layers, last=last)
    y = x.transpose(1, 2)
    for part, own in zip(_parts(layers, x.shape[1], known), state.parts, strict=True):
        if isinstance(part, Link):
            assert isinstance(own, Heard)
            y = _push(part, y, own, last)
        else:
            assert isinstance(own, LSTMState)
            y = part.run_frames(y, own)
    return y.transpose(1, 2)


def _found(layers: nn.Sequential, x: Tensor, known: Known) -> Iterator[list[Link | StreamableLSTM]]:
    """The parts of the layers, if the kernels know them all and take this input; else nothing."""
    if kernels() is not None and can_run(x) and not layers.training:
        with suppress(Unsupported):
            parts = _parts(layers, x.shape[1], known)
            for part in parts:
                if isinstance(part, Link):
                    part.chain.check()
            yield parts


def _parts(layers: nn.Sequential, channels: int, known: Known) -> list[Link | StreamableLSTM]:
    """The layers between LSTMs as one chain each, and the LSTMs."""
    parts: list[Link | StreamableLSTM] = []
    tool = kernels()
    assert isinstance(tool, Kernels)
    link: Link | None = None
    for layer in layers:
        if any(module._forward_hooks or module._forward_pre_hooks for module in layer.modules()):
            raise Unsupported
        if type(layer) is StreamableLSTM:
            parts.append(layer)
            link, channels = None, layer.lstm.hidden_size
            continue
        if link is None:
            link = Link(Chain(tool, channels), [])
            parts.append(link)
        known.get(type(layer), Chain.activate)(link.chain, layer)
        link.layers.append(layer)
    return parts


def _push(link: Link, x: Tensor, own: Heard, last: bool) -> Tensor:
    """The next rows x [B, n, D] -> the rows [B, m, D'] that they settle."""
    rows = (x if own.rows is None else torch.cat([own.rows, x], dim=1)).contiguous()
    heard = own.first + rows.shape[1]
    most = link.chain.length_after(heard)
    ready = most if last else _settled(link.layers, heard, own.made, most)
    own.rows = rows
    if ready <= own.made:
        return rows.new_zeros(rows.shape[0], 0, link.chain.channels)
    y = link.chain.run_piece(rows, own.first, own.made, ready, last=last)
    if y is None:  # paddings repeat more than there is, so all of it is here, and torch knows what to do
        y = nn.Sequential(*link.layers)(rows.transpose(1, 2)).transpose(1, 2)[:, own.made :]
    else:
        needed = link.chain.first_needed(ready)
        own.rows, own.first = rows[:, max(0, needed - own.first) :].clone(), max(own.first, needed)
    own.made = ready
    return y


def _settled(layers: Sequence[nn.Module], heard: int, low: int, high: int) -> int:
    """How many rows of the output, `low` ... `high`, the first `heard` of the input settle."""
    while low < high:
        middle = (low + high + 1) // 2
        if layers_need(layers, middle - 1) < heard:
            low = middle
        else:
            high = middle - 1
    return low
