"""The network of MultiBandDiffusion (San Roman et al. 2023, arXiv 2308.02560): a U-Net over samples that finds the
noise in them, told how noisy they are and what a codec heard.

    samples -> [conv, down by the stride -> norm -> residual blocks -> + step] x depth
            -> + codec's frames -> recurrent layers, transformer or convolutions
            -> [+ skip -> residual blocks -> norm -> transposed conv, up by the stride] x depth -> noise
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.modules.transformer import StreamingTransformer, create_sin_embedding


@dataclass
class Output:
    """What the network finds: `sample` is the noise, [B, C, N]."""

    sample: Tensor


def get_model(cfg: Any, channels: int, side: int, num_steps: int) -> DiffusionUnet:  # noqa: ARG001
    """A network by its configuration; `side` has no meaning for audio."""
    if cfg.model != "unet":
        raise InvalidInput(f"model must be 'unet', got {cfg.model!r}", field="model")
    return DiffusionUnet(chin=channels, num_steps=num_steps, **cfg.diffusion_unet)


class FrameNorm(nn.GroupNorm):
    """Group norm over the channels of each frame, which knows nothing of other times: what comes of a piece does not
    depend on how long it is."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, D, T] -> [B, D, T]"""
        batch, width, length = x.shape
        parts = x.view(batch, self.num_groups, width // self.num_groups, length)
        centred = parts - parts.mean(dim=2, keepdim=True)
        scaled = centred * torch.rsqrt(centred.square().mean(dim=2, keepdim=True) + self.eps)
        return scaled.view(batch, width, length) * self.weight[:, None] + self.bias[:, None]


def _norm(channels: int, groups: int, over_time: bool) -> nn.GroupNorm:
    return (nn.GroupNorm if over_time else FrameNorm)(groups, channels)


class ResBlock(nn.Module):
    """x [B, D, T] + two convolutions of it.

    Args:
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


class EncoderLayer(nn.Module):
    """x [B, chin, N] -> [B, chout, N / stride]"""

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
        self.res_blocks = nn.Sequential(
            *(
                ResBlock(
                    chout, norm_groups=norm_groups, dilation=2**depth, dropout=dropout, over_time=over_time
                )
                for depth in range(res_blocks)
            )
        )
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, -x.shape[-1] % self.stride))
        y: Tensor = self.res_blocks(self.activation(self.norm(self.conv(x))))
        return y


class DecoderLayer(nn.Module):
    """x [B, chin, T] -> [B, chout, T * stride]"""

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
        self.res_blocks = nn.Sequential(
            *(
                ResBlock(
                    chin, norm_groups=norm_groups, dilation=2**depth, dropout=dropout, over_time=over_time
                )
                for depth in range(res_blocks)
            )
        )
        self.norm = _norm(chin, norm_groups, over_time)
        self.activation = activation()
        self.convtr = nn.ConvTranspose1d(chin, chout, kernel, stride, (kernel - stride) // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convtr(self.activation(self.norm(self.res_blocks(x))))
        return y


class BLSTM(nn.Module):
    """x [B, D, T] + what recurrent layers that run both ways make of it."""

    def __init__(self, dim: int, layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, layers, bidirectional=True)
        self.linear = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        frames = x.permute(2, 0, 1)
        return (self.linear(self.lstm(frames)[0]) + frames).permute(1, 2, 0)


class ConvBottleneck(nn.Module):
    """x [B, D, T] + residual blocks whose reach doubles; what comes of a frame depends on frames nearby only."""

    def __init__(self, channels: int, blocks: int, norm_groups: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                ResBlock(
                    channels, norm_groups=norm_groups, dilation=2**depth, dropout=dropout, over_time=False
                )
                for depth in range(blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x)
        return y


class DiffusionUnet(nn.Module):
    """The noise in audio [B, C, N] of a step, with what a codec heard in the clean audio as a guide.

    Args:
        chin: channels.
        hidden: width of the outermost layers; `growth` times more in each of the `depth` inner ones, to `max_channels`.
        num_steps: of the noise schedule.
        emb_all_layers: tell every layer the step, not only the first.
        cross_attention: the transformer looks at the codec's frames; else they are added to the innermost layer.
        bilstm, transformer, conv_blocks: what the innermost layer is: recurrent layers both ways, a transformer, or so
            many residual blocks. Without any of them the innermost layer adds nothing.
        codec_dim: width of the codec's frames [B, codec_dim, T].
        frame_norm: norms over each frame in place of the whole piece. With convolutions inside, what comes of a piece
            then is what would come of it within a longer one.
        kwargs: of `EncoderLayer` and `DecoderLayer`: kernel, stride, norm_groups, res_blocks, dropout.
    """

    def __init__(
        self,
        chin: int = 3,
        hidden: int = 24,
        depth: int = 3,
        growth: float = 2.0,
        max_channels: int = 10_000,
        num_steps: int = 1000,
        emb_all_layers: bool = False,
        cross_attention: bool = False,
        bilstm: bool = False,
        transformer: bool = False,
        codec_dim: int | None = None,
        conv_blocks: int = 0,
        frame_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if sum((bilstm, transformer, conv_blocks > 0)) > 1:
            raise InvalidInput(
                "a diffusion U-Net has at most one of bilstm, transformer and conv_blocks inside, got "
                f"bilstm={bilstm}, transformer={transformer}, conv_blocks={conv_blocks}",
                field="diffusion_unet",
            )
        if cross_attention and not transformer:
            raise InvalidInput("cross_attention needs transformer=true", field="cross_attention")
        self.num_steps, self.cross_attention, self.codec_dim = num_steps, cross_attention, codec_dim
        self.stride = int(kwargs.get("stride", 2)) ** depth
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        self.embeddings = nn.ModuleList() if emb_all_layers else None
        self.embedding = nn.Embedding(num_steps, hidden)
        shared = {**kwargs, "over_time": not frame_norm}
        outer, inner = chin, hidden
        for level in range(depth):
            self.encoders.append(EncoderLayer(outer, inner, **shared))
            self.decoders.insert(0, DecoderLayer(inner, outer, **shared))
            if self.embeddings is not None and level > 0:
                self.embeddings.append(nn.Embedding(num_steps, inner))
            outer, inner = inner, min(int(inner * growth), max_channels)
        self.bilstm = BLSTM(outer) if bilstm else None
        self.transformer = (
            StreamingTransformer(
                outer,
                num_heads=8,
                num_layers=6,
                bias_ff=False,
                bias_attn=False,
                cross_attention=cross_attention,
            )
            if transformer
            else None
        )
        groups, dropout = kwargs.get("norm_groups", 4), kwargs.get("dropout", 0.0)
        self.convs = ConvBottleneck(outer, conv_blocks, groups, dropout) if conv_blocks else None
        self.conv_codec = nn.Conv1d(codec_dim, outer, 1) if codec_dim is not None else None

    def forward(self, x: Tensor, step: int | Tensor, condition: Tensor | None = None) -> Output:
        """x [B, C, N], `step` one for all or [B], `condition` [B, codec_dim, T] over the same time."""
        self._check(condition)
        length, skips = x.shape[-1], []
        steps = torch.as_tensor(step, dtype=torch.long, device=x.device).view(-1)
        for level, encoder in enumerate(self.encoders):
            x = encoder(x)
            told = self.embedding if level == 0 else self._embedding_of(level)
            x = x if told is None else x + told(steps).unsqueeze(-1)
            skips.append(x)
        x = self._innermost(skips.pop(), condition)
        for level, decoder in enumerate(self.decoders):
            if level:
                skip = skips.pop()
                x = x[..., : skip.shape[-1]] + skip
            x = decoder(x)
        return Output(x[..., :length])

    def _embedding_of(self, level: int) -> nn.Module | None:
        return None if self.embeddings is None else self.embeddings[level - 1]

    def _innermost(self, x: Tensor, condition: Tensor | None) -> Tensor:
        heard: Tensor | None = None
        if self.conv_codec is not None and condition is not None:
            heard = F.interpolate(self.conv_codec(condition), x.shape[-1])
        if self.transformer is not None:
            return x + self._attended(x, heard)
        x = x if heard is None else x + heard
        inside = self.bilstm if self.bilstm is not None else self.convs
        y: Tensor = torch.zeros_like(x) if inside is None else inside(x)
        return y

    def _attended(self, x: Tensor, heard: Tensor | None) -> Tensor:
        assert self.transformer is not None
        frames = x.transpose(1, 2)
        if not self.cross_attention or heard is None:
            frames = frames if heard is None else frames + heard.transpose(1, 2)
            y: Tensor = self.transformer(frames)
            return y.transpose(1, 2)
        place = torch.arange(x.shape[-1], device=x.device).view(1, -1, 1)
        source = heard.transpose(1, 2) + create_sin_embedding(place, x.shape[1])
        y = self.transformer(frames, cross_attention_src=source)
        return y.transpose(1, 2)

    def _check(self, condition: Tensor | None) -> None:
        if condition is None and self.conv_codec is not None:
            raise InvalidInput(
                "this network is guided by a codec's frames: pass condition", field="condition"
            )
        if condition is not None and (self.codec_dim is None or condition.shape[1] != self.codec_dim):
            raise InvalidInput(
                f"condition must be [B, {self.codec_dim}, T], the frames of the codec that the network was trained "
                f"with, got {list(condition.shape)}",
                field="condition",
            )
