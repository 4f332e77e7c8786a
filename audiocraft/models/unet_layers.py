"""The layers that the U-Net of MultiBandDiffusion is made of: residual blocks, what goes down and up by a stride, and
what may lie innermost. Sequences are [B, D, T]: D channels at T places."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrameNorm(nn.GroupNorm):
    """This layer is a group norm over the channels of each frame, which knows nothing of other times: what comes of a
    piece does not depend on how long it is."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each frame of x [B, D, T] by itself; the result has the same shape."""
        batch, width, length = x.shape
        parts = x.view(batch, self.num_groups, width // self.num_groups, length)
        centred = parts - parts.mean(dim=2, keepdim=True)
        scaled = centred * torch.rsqrt(centred.square().mean(dim=2, keepdim=True) + self.eps)
        return scaled.view(batch, width, length) * self.weight[:, None] + self.bias[:, None]


def _norm(channels: int, groups: int, over_time: bool) -> nn.GroupNorm:
    return (nn.GroupNorm if over_time else FrameNorm)(groups, channels)


class ResBlock(nn.Module):
    """This block has two convolutions, each after a norm, whose result is added to their input: x [B, D, T] -> [B, D,
    T].

    Args:
        channels: the width D, which `norm_groups` must divide.
        over_time: norms are taken over the whole piece; else over each frame.
    """

    def __init__(
        self,
        channels: int,
        kernel: int = 3,
        norm_groups: int = 4,
        dilation: int = 1,
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        over_time: bool = True,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.norm1 = _norm(channels, norm_groups, over_time)
        self.conv1 = nn.Conv1d(channels, channels, kernel, padding=padding, dilation=dilation)
        self.activation1 = activation()
        self.dropout1 = nn.Dropout(dropout)
        self.norm2 = _norm(channels, norm_groups, over_time)
        self.conv2 = nn.Conv1d(channels, channels, kernel, padding=padding, dilation=dilation)
        self.activation2 = activation()
        self.dropout2 = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout1(self.conv1(self.activation1(self.norm1(x))))
        h = self.dropout2(self.conv2(self.activation2(self.norm2(h))))
        return x + h


def _res_blocks(count: int, channels: int, groups: int, dropout: float, over_time: bool) -> nn.Sequential:
    """Return `count` residual blocks one after the other, each of which reaches twice as far as the one before."""
    return nn.Sequential(
        *(
            ResBlock(channels, norm_groups=groups, dilation=2**depth, dropout=dropout, over_time=over_time)
            for depth in range(count)
        )
    )


class EncoderLayer(nn.Module):
    """This layer has a strided convolution, a norm and residual blocks: x [B, chin, N] -> [B, chout, ceil(N / stride)].

    Args:
        stride: samples of the input that become one of the output; the end of x is filled up with zeros.
        res_blocks: how many residual blocks follow, with dilations 1, 2, 4 and so on.
        over_time: as in `ResBlock`.
    """

    def __init__(
        self,
        chin: int,
        chout: int,
        kernel: int = 4,
        stride: int = 2,
        norm_groups: int = 4,
        res_blocks: int = 1,
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        over_time: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(chin, chout, kernel, stride, (kernel - stride) // 2, bias=False)
        self.norm = _norm(chout, norm_groups, over_time)
        self.activation = activation()
        self.res_blocks = _res_blocks(res_blocks, chout, norm_groups, dropout, over_time)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, -x.shape[-1] % self.stride))
        y: Tensor = self.res_blocks(self.activation(self.norm(self.conv(x))))
        return y


class DecoderLayer(nn.Module):
    """This layer mirrors `EncoderLayer`: it has residual blocks, a norm and a transposed convolution, x [B, chin, T] ->
    [B, chout, T * stride]."""

    def __init__(
        self,
        chin: int,
        chout: int,
        kernel: int = 4,
        stride: int = 2,
        norm_groups: int = 4,
        res_blocks: int = 1,
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        over_time: bool = True,
    ) -> None:
        super().__init__()
        self.res_blocks = _res_blocks(res_blocks, chin, norm_groups, dropout, over_time)
        self.norm = _norm(chin, norm_groups, over_time)
        self.activation = activation()
        self.convtr = nn.ConvTranspose1d(chin, chout, kernel, stride, (kernel - stride) // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convtr(self.activation(self.norm(self.res_blocks(x))))
        return y


class BLSTM(nn.Module):
    """These recurrent layers run both ways in time, and their result is added to their input: x [B, D, T] -> [B, D,
    T]."""

    def __init__(self, dim: int, layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, layers, bidirectional=True)
        self.linear = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        frames = x.permute(2, 0, 1)
        return (self.linear(self.lstm(frames)[0]) + frames).permute(1, 2, 0)


class ConvBottleneck(nn.Module):
    """This module has residual blocks whose reach doubles from one to the next, and adds their result to their input: x
    [B, D, T] -> [B, D, T]. What comes of a frame depends on frames nearby only."""

    def __init__(self, channels: int, blocks: int, norm_groups: int, dropout: float) -> None:
        super().__init__()
        self.blocks = _res_blocks(blocks, channels, norm_groups, dropout, over_time=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x)
        return y
