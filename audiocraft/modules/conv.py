"""Convolutions that keep the frame count exact, with a choice of norms, and that can be fed piece by piece.

    causal      [left: k - s][ input ............ ][ extra ]      k kernel span, s stride
    not causal  [left][ input ............ ][ right + extra ]     left + right = k - s, right = (k - s) // 2

`extra` fills the last window: L samples always give ceil(L / s) frames, and T frames give T * s samples back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.modules.derived import Derived
from audiocraft.modules.norm import normalise_weight
from audiocraft.modules.streaming import StreamingModule

CONV_NORMALIZATIONS = frozenset(["none", "weight_norm", "spectral_norm", "time_group_norm"])

M = TypeVar("M", bound=nn.Module)

_NO_KWARGS: Mapping[str, Any] = MappingProxyType({})


def apply_parametrization_norm(module: M, norm: str = "none") -> M:
    """Return `module` with its weight normalised, where `norm` is a norm of weights; otherwise as it is."""
    _check_norm(norm)
    return normalise_weight(module, norm) if norm in ("weight_norm", "spectral_norm") else module


def get_norm_module(
    module: nn.Module, causal: bool = False, norm: str = "none", **norm_kwargs: Any
) -> nn.Module:
    """Return the layer that normalises what the convolution `module` returns; Identity where `norm` acts on weights."""
    _check_norm(norm)
    if norm != "time_group_norm":
        return nn.Identity()
    if causal:
        raise InvalidInput(
            "time_group_norm looks at the whole clip, so a causal model cannot have it", field="norm"
        )
    if not isinstance(module, nn.modules.conv._ConvNd):
        raise InvalidInput(
            f"time_group_norm follows a convolution, not {type(module).__name__}", field="norm"
        )
    return nn.GroupNorm(1, module.out_channels, **norm_kwargs)


def _check_norm(norm: str) -> None:
    if norm not in CONV_NORMALIZATIONS:
        raise InvalidInput(
            f"norm {norm!r} is not a choice; one of {', '.join(sorted(CONV_NORMALIZATIONS))}", field="norm"
        )


def _check_streamable(norm: nn.Module) -> None:
    if not isinstance(norm, nn.Identity):
        raise InvalidInput("time_group_norm looks at the whole clip, so it cannot stream", field="norm")


def get_extra_padding_for_conv1d(x: Tensor, kernel_size: int, stride: int, padding_total: int = 0) -> int:
    """Count the samples that the last window lacks when `padding_total` samples surround x [..., L]."""
    return _extra_padding(x.shape[-1], kernel_size, stride, padding_total)


def _extra_padding(length: int, kernel_size: int, stride: int, padding_total: int) -> int:
    room = length + padding_total - kernel_size  # start of the last window, if it ended with the input
    return max(-(-room // stride), 0) * stride - room


def pad_for_conv1d(x: Tensor, kernel_size: int, stride: int, padding_total: int = 0) -> Tensor:
    """Return x with zeros at its end, so that the last window is full and no sample is dropped."""
    return F.pad(x, (0, get_extra_padding_for_conv1d(x, kernel_size, stride, padding_total)))


def pad1d(x: Tensor, paddings: tuple[int, int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Pad as torch does, but let `reflect` also take an input shorter than the padding: zeros lengthen it first."""
    left, right = paddings
    if left < 0 or right < 0:
        raise InvalidInput(f"padding cannot be negative: {(left, right)}", field="paddings")
    if left == 0 and right == 0:
        return x
    if mode != "reflect":
        return F.pad(x, (left, right), mode, value)
    missing = max(max(left, right) - x.shape[-1] + 1, 0)
    padded = F.pad(F.pad(x, (0, missing)) if missing else x, (left, right), mode)
    return padded[..., : padded.shape[-1] - missing]


def unpad1d(x: Tensor, paddings: tuple[int, int]) -> Tensor:
    """Cut the padding off: x [..., left + L + right] becomes [..., L]."""
    left, right = paddings
    if left < 0 or right < 0 or left + right > x.shape[-1]:
        raise InvalidInput(f"cannot remove {(left, right)} samples from {x.shape[-1]}", field="paddings")
    return x[..., left : x.shape[-1] - right]


class _NormConv(nn.Module):
    """This layer is a convolution followed by its norm; both are always there, so that state dicts have one layout."""

    kind: ClassVar[type[nn.Conv1d | nn.Conv2d]]

    def __init__(
        self,
        *args: Any,
        causal: bool = False,
        norm: str = "none",
        norm_kwargs: Mapping[str, Any] = _NO_KWARGS,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.conv = apply_parametrization_norm(self.kind(*args, **kwargs), norm)
        self.norm = get_norm_module(self.conv, causal, norm, **norm_kwargs)
        self.norm_type = norm

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, D, ..., L] to [B, D', ..., L']."""
        return self.norm(self.conv(x))


class NormConv1d(_NormConv):
    """This layer is a Conv1d with its norm behind it: x [B, D, L] becomes [B, D', L']."""

    kind = nn.Conv1d


class NormConv2d(_NormConv):
    """This layer is a Conv2d with its norm behind it: x [B, D, F, L] becomes [B, D', F', L']."""

    kind = nn.Conv2d


class _NormConvTranspose(nn.Module):
    """This layer is a transposed convolution followed by its norm."""

    kind: ClassVar[type[nn.ConvTranspose1d | nn.ConvTranspose2d]]

    def __init__(
        self,
        *args: Any,
        causal: bool = False,
        norm: str = "none",
        norm_kwargs: Mapping[str, Any] = _NO_KWARGS,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.convtr = apply_parametrization_norm(self.kind(*args, **kwargs), norm)
        self.norm = get_norm_module(self.convtr, causal, norm, **norm_kwargs)
        self.norm_type = norm

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, D, ..., L] to [B, D', ..., L']."""
        return self.norm(self.convtr(x))


class NormConvTranspose1d(_NormConvTranspose):
    """This layer is a ConvTranspose1d with its norm behind it: x [B, D, L] becomes [B, D', L']."""

    kind = nn.ConvTranspose1d


class NormConvTranspose2d(_NormConvTranspose):
    """This layer is a ConvTranspose2d with its norm behind it: x [B, D, F, L] becomes [B, D', F', L']."""

    kind = nn.ConvTranspose2d


@dataclass(slots=True)
class ConvState:
    """This record holds the input that later windows still need."""

    buffer: Tensor  # [B, D, n]
    started: bool = False  # whether the left padding is in the buffer


class StreamableConv1d(StreamingModule):
    """This layer is a Conv1d that turns L samples into ceil(L / stride) frames; if it is causal, a frame depends on no
    sample after its own."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        causal: bool = False,
        norm: str = "none",
        norm_kwargs: Mapping[str, Any] = _NO_KWARGS,
        pad_mode: str = "reflect",
    ) -> None:
        super().__init__()
        self.conv = NormConv1d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
            causal=causal,
            norm=norm,
            norm_kwargs=norm_kwargs,
        )
        self.packed = Derived()
        self.causal = causal
        self.pad_mode = pad_mode
        self.stride = stride
        self.span = (kernel_size - 1) * dilation + 1  # samples that one output frame sees
        self.padding_total = self.span - stride
        self.padding_right = 0 if causal else self.padding_total // 2
        if self.padding_total < 0:
            raise InvalidInput(
                f"stride {stride} skips samples of a kernel that spans {self.span}", field="stride"
            )

    def init_state(self, batch_size: int) -> ConvState:
        """Return the state of a stream of which nothing has been heard yet. One that is not causal holds output back
        until it has seen what it looks ahead to."""
        if not self.causal and self.stride > 1 and self.pad_mode != "constant":
            raise InvalidInput(
                f"a convolution of stride {self.stride} that is not causal and reflects its ends needs the whole clip",
                field="causal",
            )
        _check_streamable(self.conv.norm)
        # The last window is completed by reflecting what is left in the buffer, which must suffice for it.
        enough = self.pad_mode == "constant" or self.stride == 1 or self.span >= 2 * self.stride
        if self.pad_mode not in ("constant", "reflect") or not enough:
            raise InvalidInput(
                f"padding {self.pad_mode!r}, span {self.span}, stride {self.stride}: cannot be done piece by piece",
                field="pad_mode",
            )
        conv = self.conv.conv
        return ConvState(conv.weight.new_zeros(batch_size, conv.in_channels, 0))

    def forward(self, x: Tensor, state: ConvState | None = None) -> Tensor:
        """Convolve x [B, D, L] -> [B, D', ceil(L / stride)]; with a state, as many frames as are complete."""
        state = self.current_state(state, x.shape[0])
        if state is not None:
            return self._step(x, state)
        extra = _extra_padding(x.shape[-1], self.span, self.stride, self.padding_total)
        left, right = self.padding_total - self.padding_right, self.padding_right + extra
        return self.conv(pad1d(x, (left, right), self.pad_mode))

    def lookahead(self, index: int) -> int:
        """Return the last input sample that is needed before output frame `index` is settled."""
        left = self.padding_total - self.padding_right
        return max(index * self.stride + self.span - 1 - left, self._wait())

    def finish(self, state: ConvState) -> Tensor:
        """Return the frames that were waiting for more input, completed by padding."""
        if not state.started:  # the whole input was shorter than the reflection it has to give
            return self.forward(state.buffer) if state.buffer.shape[-1] else self._nothing(state.buffer)
        if self.padding_right:
            right = self.padding_right
            if state.buffer.shape[-1] + right - self.span <= -self.stride:
                return self._nothing(state.buffer)
            right += _extra_padding(state.buffer.shape[-1], self.span, self.stride, right)
            return self.conv(pad1d(state.buffer, (0, right), self.pad_mode))
        missing = _extra_padding(state.buffer.shape[-1], self.span, self.stride, 0)
        if state.buffer.shape[-1] + missing < self.span or state.buffer.shape[-1] <= self.padding_total:
            return self._nothing(state.buffer)
        return self.conv(pad1d(state.buffer, (0, missing), self.pad_mode))

    def _step(self, x: Tensor, state: ConvState) -> Tensor:
        buffer = torch.cat([state.buffer, x], dim=-1) if state.buffer.shape[-1] else x
        if not state.started:
            if buffer.shape[-1] <= self._wait():
                state.buffer = buffer
                return self._nothing(buffer)
            buffer = pad1d(buffer, (self.padding_total - self.padding_right, 0), self.pad_mode)
            state.started = True
        frames = (buffer.shape[-1] - self.span) // self.stride + 1
        state.buffer = buffer[..., max(frames, 0) * self.stride :]
        if frames <= 0:
            return self._nothing(buffer)
        return self.conv(buffer[..., : (frames - 1) * self.stride + self.span])

    def _wait(self) -> int:
        """Return the wait: a reflection repeats samples that lie ahead, and more than this many must be here."""
        return self.padding_total - self.padding_right if self.pad_mode == "reflect" else 0

    def _nothing(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[0], self.conv.conv.out_channels, 0)


@dataclass(slots=True)
class ConvTransposeState:
    """This record holds the part of past outputs that reaches into the future."""

    overlap: Tensor | None  # [B, D', kernel - stride], without bias; None before the first frame
    skip: int  # samples at the very start that are padding


class StreamableConvTranspose1d(StreamingModule):
    """This layer is a ConvTranspose1d that turns T frames into T * stride samples.

    Args:
        trim_right_ratio: share of the surplus samples that is cut at the end; 1.0 keeps a causal model causal.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        causal: bool = False,
        norm: str = "none",
        trim_right_ratio: float = 1.0,
        norm_kwargs: Mapping[str, Any] = _NO_KWARGS,
    ) -> None:
        super().__init__()
        if not 0.0 <= trim_right_ratio <= 1.0:
            raise InvalidInput(
                f"trim_right_ratio {trim_right_ratio} is not in [0, 1]", field="trim_right_ratio"
            )
        if not causal and trim_right_ratio != 1.0:
            raise InvalidInput(
                "trim_right_ratio other than 1.0 needs a causal convolution", field="trim_right_ratio"
            )
        if kernel_size < stride:
            raise InvalidInput(f"kernel {kernel_size} leaves gaps at stride {stride}", field="kernel_size")
        self.convtr = NormConvTranspose1d(
            in_channels, out_channels, kernel_size, stride, causal=causal, norm=norm, norm_kwargs=norm_kwargs
        )
        self.causal = causal
        self.trim_right_ratio = trim_right_ratio
        self.stride = stride
        self.packed, self._as_conv = Derived(), Derived()
        surplus = kernel_size - stride
        self.trim_right = math.ceil(surplus * trim_right_ratio) if causal else surplus // 2
        self.trim_left = surplus - self.trim_right

    def init_state(self, batch_size: int) -> ConvTransposeState:
        """Return the state of a stream that has heard nothing yet."""
        _check_streamable(self.convtr.norm)
        return ConvTransposeState(overlap=None, skip=self.trim_left)

    def forward(self, x: Tensor, state: ConvTransposeState | None = None) -> Tensor:
        """Turn x [B, D, T] into [B, D', T * stride]."""
        state = self.current_state(state, x.shape[0])
        if state is not None:
            return self._step(x, state)
        y = self.convtr.norm(self._transposed(x, self.convtr.convtr.bias))
        return unpad1d(y, (self.trim_left, self.trim_right))

    def lookahead(self, index: int) -> int:
        """Return the last input frame that is needed before output sample `index` is settled."""
        return (index + self.trim_left) // self.stride

    def finish(self, state: ConvTransposeState) -> Tensor | None:
        """Return the samples that remain of the overlap once no frame follows; None where there are none."""
        if state.overlap is None or self.trim_left == 0:
            return None
        return self._release(state.overlap[..., : self.trim_left], state)

    def _step(self, x: Tensor, state: ConvTransposeState) -> Tensor:
        conv = self.convtr.convtr
        if x.shape[-1] == 0:
            return x.new_zeros(x.shape[0], conv.out_channels, 0)
        y = self._transposed(x, None)
        settled = x.shape[-1] * self.stride
        if state.overlap is not None:
            # Out of place: a caller may differentiate through a step.
            y = y + F.pad(state.overlap, (0, y.shape[-1] - state.overlap.shape[-1]))
        state.overlap = y[..., settled:]
        return self._release(y[..., :settled], state)

    def _transposed(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Map x [B, D, T] to [B, D', (T - 1) * stride + kernel]."""
        conv = self.convtr.convtr
        weight = conv.weight
        if torch.is_grad_enabled() or x.device.type != "cpu" or conv.kernel_size[0] != 2 * self.stride:
            return F.conv_transpose1d(x, weight, bias, self.stride)
        # Each sample hears two frames: a convolution of kernel 2 makes the `stride` samples of a frame as channels.

        def two_frame_kernel() -> Tensor:  # [D, D', 2 * stride] -> [D' * stride, D, 2]
            pair = torch.stack(weight.split(self.stride, dim=-1)[::-1], dim=-1)
            return pair.permute(1, 2, 0, 3).flatten(0, 1).contiguous()

        kernel = self._as_conv.get((weight,), two_frame_kernel, training=self.training)
        wide = None if bias is None else bias.repeat_interleave(self.stride)
        y = F.conv1d(x, kernel, wide, padding=1).unflatten(1, (conv.out_channels, self.stride))
        return y.transpose(2, 3).flatten(2)

    def _release(self, y: Tensor, state: ConvTransposeState) -> Tensor:
        bias = self.convtr.convtr.bias
        skipped = min(state.skip, y.shape[-1])
        state.skip -= skipped
        y = y[..., skipped:]
        return y if bias is None else y + bias[:, None]
