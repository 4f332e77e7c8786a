"""SEANet (Tagliasacchi 2020, as in EnCodec): a convolutional encoder from samples to frames, and its mirror.

encoder  conv -> [residual layers -> ELU -> strided conv] per ratio, innermost first -> LSTM -> ELU -> conv
decoder  conv -> LSTM -> [ELU -> transposed conv -> residual layers] per ratio -> ELU -> conv
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.modules.chained import (
    LayerHandlers,
    LayersState,
    init_layers,
    layers_lookahead,
    run_layers,
    step_in_torch,
    step_layers,
)
from audiocraft.modules.compiled.codec import Chain
from audiocraft.modules.conv import StreamableConv1d, StreamableConvTranspose1d
from audiocraft.modules.lstm import StreamableLSTM
from audiocraft.modules.streaming import StreamingModule

_ELU: Mapping[str, Any] = MappingProxyType({"alpha": 1.0})
_NONE: Mapping[str, Any] = MappingProxyType({})


def _activation(name: str, params: Mapping[str, Any]) -> nn.Module:
    kind = getattr(nn, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise InvalidInput(f"activation {name!r} is not a layer of torch.nn", field="activation")
    return kind(**params)


@dataclass(slots=True)
class ResnetState:
    """This record holds the states of the block's layers and its shortcut, and shortcut output that waits for the
    block's."""

    block: list[Any]
    shortcut: Any
    waiting: Tensor | None = None  # [B, D, n]


class SEANetResnetBlock(StreamingModule):
    """This block is residual: shortcut(x) + block(x), where the block is an activation and a convolution for each
    kernel, narrower inside."""

    def __init__(
        self,
        dim: int,
        kernel_sizes: Sequence[int] = (3, 1),
        dilations: Sequence[int] = (1, 1),
        activation: str = "ELU",
        activation_params: Mapping[str, Any] = _ELU,
        norm: str = "none",
        norm_params: Mapping[str, Any] = _NONE,
        causal: bool = False,
        pad_mode: str = "reflect",
        compress: int = 2,
        true_skip: bool = True,
    ) -> None:
        super().__init__()
        if len(kernel_sizes) != len(dilations):
            raise InvalidInput(
                f"{len(kernel_sizes)} kernel sizes for {len(dilations)} dilations", field="dilations"
            )
        shared: dict[str, Any] = dict(norm=norm, norm_kwargs=norm_params, causal=causal, pad_mode=pad_mode)
        widths = [dim, *[dim // compress] * (len(kernel_sizes) - 1), dim]
        layers: list[nn.Module] = []
        for index, (kernel_size, dilation) in enumerate(zip(kernel_sizes, dilations, strict=True)):
            layers.append(_activation(activation, activation_params))
            layers.append(
                StreamableConv1d(widths[index], widths[index + 1], kernel_size, dilation=dilation, **shared)
            )
        self.block = nn.Sequential(*layers)
        self.shortcut = nn.Identity() if true_skip else StreamableConv1d(dim, dim, 1, **shared)

    def init_state(self, batch_size: int) -> ResnetState:
        """Return the state of a stream that has heard nothing yet."""
        shortcut = (
            self.shortcut.init_state(batch_size) if isinstance(self.shortcut, StreamingModule) else None
        )
        return ResnetState(block=init_layers(self.block, batch_size), shortcut=shortcut)

    def forward(self, x: Tensor, state: ResnetState | None = None) -> Tensor:
        """Run x [B, D, L] through the block; the shape stays."""
        state = self.current_state(state, x.shape[0])
        if state is None:
            return self.shortcut(x) + self.block(x)
        kept = x if state.shortcut is None else self.shortcut(x, state=state.shortcut)
        state.waiting = kept if state.waiting is None else torch.cat([state.waiting, kept], dim=-1)
        return self._join(step_in_torch(self.block, x, state.block, last=False), state)

    def lookahead(self, index: int) -> int:
        """Return the last sample that is needed before sample `index` of the output is settled."""
        return layers_lookahead(self.block, index)

    def finish(self, state: ResnetState) -> Tensor | None:
        """Return what the block still held."""
        if state.waiting is None:
            return None
        nothing = state.waiting[..., :0]
        return self._join(step_in_torch(self.block, nothing, state.block, last=True), state)

    def _join(self, y: Tensor, state: ResnetState) -> Tensor:
        assert state.waiting is not None
        kept, state.waiting = state.waiting[..., : y.shape[-1]], state.waiting[..., y.shape[-1] :]
        return kept + y


_KNOWN: LayerHandlers = MappingProxyType(
    {
        StreamableConv1d: Chain.conv,
        StreamableConvTranspose1d: Chain.upsample,
        SEANetResnetBlock: Chain.residual,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recipe:
    """This record holds what every layer of one network has in common."""

    activation: str
    activation_params: Mapping[str, Any]
    norm: str
    norm_params: Mapping[str, Any]
    causal: bool
    pad_mode: str
    residual_kernel_size: int
    dilation_base: int
    compress: int
    true_skip: bool

    def norms(self, n_blocks: int, disabled: int) -> list[str]:
        """Return the norm of each block, counted from the waveform, of which the first `disabled` have none."""
        if not 0 <= disabled <= n_blocks:
            raise InvalidInput(
                f"disable_norm_outer_blocks {disabled} is not in 0..{n_blocks}, the number of blocks",
                field="disable_norm_outer_blocks",
            )
        return ["none"] * disabled + [self.norm] * (n_blocks - disabled)

    def activate(self) -> nn.Module:
        return _activation(self.activation, self.activation_params)

    def conv(
        self, width: int, width_out: int, kernel_size: int, norm: str, *, stride: int = 1
    ) -> StreamableConv1d:
        return StreamableConv1d(
            width,
            width_out,
            kernel_size,
            stride=stride,
            causal=self.causal,
            norm=norm,
            norm_kwargs=self.norm_params,
            pad_mode=self.pad_mode,
        )

    def upsample(
        self, width: int, ratio: int, norm: str, trim_right_ratio: float
    ) -> StreamableConvTranspose1d:
        return StreamableConvTranspose1d(
            width,
            width // 2,
            2 * ratio,
            stride=ratio,
            causal=self.causal,
            norm=norm,
            trim_right_ratio=trim_right_ratio,
            norm_kwargs=self.norm_params,
        )

    def residual(self, width: int, depth: int, norm: str) -> SEANetResnetBlock:
        return SEANetResnetBlock(
            width,
            kernel_sizes=(self.residual_kernel_size, 1),
            dilations=(self.dilation_base**depth, 1),
            activation=self.activation,
            activation_params=self.activation_params,
            norm=norm,
            norm_params=self.norm_params,
            causal=self.causal,
            pad_mode=self.pad_mode,
            compress=self.compress,
            true_skip=self.true_skip,
        )


class SEANetEncoder(StreamingModule):
    """This network is the encoder of EnCodec: it turns samples [B, C, N] into frames [B, dimension, T], one per
    `hop_length` samples."""

    def __init__(
        self,
        channels: int = 1,
        dimension: int = 128,
        n_filters: int = 32,
        n_residual_layers: int = 3,
        ratios: Sequence[int] = (8, 5, 4, 2),
        activation: str = "ELU",
        activation_params: Mapping[str, Any] = _ELU,
        norm: str = "none",
        norm_params: Mapping[str, Any] = _NONE,
        kernel_size: int = 7,
        last_kernel_size: int = 7,
        residual_kernel_size: int = 3,
        dilation_base: int = 2,
        causal: bool = False,
        pad_mode: str = "reflect",
        true_skip: bool = True,
        compress: int = 2,
        lstm: int = 0,
        disable_norm_outer_blocks: int = 0,
    ) -> None:
        super().__init__()
        self.channels, self.dimension, self.n_filters = channels, dimension, n_filters
        self.n_residual_layers = n_residual_layers
        self.ratios = list(reversed(ratios))
        self.hop_length = prod(ratios)
        recipe = _Recipe(
            activation=activation,
            activation_params=activation_params,
            norm=norm,
            norm_params=norm_params,
            causal=causal,
            pad_mode=pad_mode,
            residual_kernel_size=residual_kernel_size,
            dilation_base=dilation_base,
            compress=compress,
            true_skip=true_skip,
        )
        self.n_blocks = len(ratios) + 2
        norms = recipe.norms(self.n_blocks, disable_norm_outer_blocks)
        first, *stages, last = norms
        width = n_filters
        layers: list[nn.Module] = [recipe.conv(channels, width, kernel_size, first)]
        for ratio, stage in zip(self.ratios, stages, strict=True):
            layers += [recipe.residual(width, depth, stage) for depth in range(n_residual_layers)]
            layers += [recipe.activate(), recipe.conv(width, 2 * width, 2 * ratio, stage, stride=ratio)]
            width *= 2
        if lstm:
            layers.append(StreamableLSTM(width, num_layers=lstm))
        layers += [recipe.activate(), recipe.conv(width, dimension, last_kernel_size, last)]
        self.model = nn.Sequential(*layers)

    def init_state(self, batch_size: int) -> LayersState:
        """Return the state of a stream that has heard nothing yet."""
        return LayersState(init_layers(self.model, batch_size))

    def forward(self, x: Tensor, state: LayersState | None = None) -> Tensor:
        """Encode x [B, C, N] -> [B, D, ceil(N / hop_length)]; with a state, the frames that are complete."""
        state = self.current_state(state, x.shape[0])
        if state is None:
            return run_layers(self.model, x, _KNOWN)
        return step_layers(self.model, x, state, _KNOWN, last=False)

    def last_step(self, x: Tensor, state: LayersState) -> Tensor:
        """Return the frames of the last piece `x` (it may be empty), the incomplete one padded."""
        return step_layers(self.model, x, state, _KNOWN, last=True)


class SEANetDecoder(StreamingModule):
    """This network is the decoder of EnCodec: it turns frames [B, dimension, T] into samples [B, C, T * hop_length]."""

    def __init__(
        self,
        channels: int = 1,
        dimension: int = 128,
        n_filters: int = 32,
        n_residual_layers: int = 3,
        ratios: Sequence[int] = (8, 5, 4, 2),
        activation: str = "ELU",
        activation_params: Mapping[str, Any] = _ELU,
        final_activation: str | None = None,
        final_activation_params: Mapping[str, Any] | None = None,
        norm: str = "none",
        norm_params: Mapping[str, Any] = _NONE,
        kernel_size: int = 7,
        last_kernel_size: int = 7,
        residual_kernel_size: int = 3,
        dilation_base: int = 2,
        causal: bool = False,
        pad_mode: str = "reflect",
        true_skip: bool = True,
        compress: int = 2,
        lstm: int = 0,
        disable_norm_outer_blocks: int = 0,
        trim_right_ratio: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.dimension, self.n_filters = channels, dimension, n_filters
        self.n_residual_layers = n_residual_layers
        self.ratios = list(ratios)
        self.hop_length = prod(ratios)
        self.trim_right_ratio = trim_right_ratio
        recipe = _Recipe(
            activation=activation,
            activation_params=activation_params,
            norm=norm,
            norm_params=norm_params,
            causal=causal,
            pad_mode=pad_mode,
            residual_kernel_size=residual_kernel_size,
            dilation_base=dilation_base,
            compress=compress,
            true_skip=true_skip,
        )
        self.n_blocks = len(ratios) + 2
        norms = recipe.norms(self.n_blocks, disable_norm_outer_blocks)
        last, *stages, first = norms  # counted from the waveform, here the end
        width = n_filters * 2 ** len(self.ratios)
        layers: list[nn.Module] = [recipe.conv(dimension, width, kernel_size, first)]
        if lstm:
            layers.append(StreamableLSTM(width, num_layers=lstm))
        for ratio, stage in zip(self.ratios, reversed(stages), strict=True):
            layers += [recipe.activate(), recipe.upsample(width, ratio, stage, trim_right_ratio)]
            width //= 2
            layers += [recipe.residual(width, depth, stage) for depth in range(n_residual_layers)]
        layers += [recipe.activate(), recipe.conv(width, channels, last_kernel_size, last)]
        if final_activation is not None:
            layers.append(_activation(final_activation, final_activation_params or {}))
        self.model = nn.Sequential(*layers)

    def init_state(self, batch_size: int) -> LayersState:
        """Return the state of a stream that has heard nothing yet."""
        return LayersState(init_layers(self.model, batch_size))

    def forward(self, z: Tensor, state: LayersState | None = None) -> Tensor:
        """Decode z [B, D, T] -> [B, C, T * hop_length]; with a state, the samples that are settled."""
        state = self.current_state(state, z.shape[0])
        if state is None:
            return run_layers(self.model, z, _KNOWN)
        return step_layers(self.model, z, state, _KNOWN, last=False)

    def lookahead(self, index: int) -> int:
        """Return the last frame that is needed before sample `index` is settled."""
        return layers_lookahead(self.model, index)

    def last_step(self, z: Tensor, state: LayersState) -> Tensor:
        """Return the samples of the last piece `z` (it may be empty) and those that were held back."""
        return step_layers(self.model, z, state, _KNOWN, last=True)
