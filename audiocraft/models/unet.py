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
from audiocraft.models.unet_layers import BLSTM, ConvBottleneck, DecoderLayer, EncoderLayer, ResBlock
from audiocraft.modules.transformer import StreamingTransformer, create_sin_embedding

__all__ = ["BLSTM", "DecoderLayer", "DiffusionUnet", "EncoderLayer", "Output", "ResBlock", "get_model"]


@dataclass
class Output:
    """This record holds what the network finds: `sample` is the noise, [B, C, N]."""

    sample: Tensor


def get_model(cfg: Any, channels: int, side: int, num_steps: int) -> DiffusionUnet:  # noqa: ARG001
    """Build a network for audio of so many channels from the sections `model` and `diffusion_unet` of a run's
    configuration; `side` has no meaning for audio. Another model than "unet" raises InvalidInput."""
    if cfg.model != "unet":
        raise InvalidInput(f"model must be 'unet', got {cfg.model!r}", field="model")
    return DiffusionUnet(chin=channels, num_steps=num_steps, **cfg.diffusion_unet)


class DiffusionUnet(nn.Module):
    """This network finds the noise in audio [B, C, N] of a step of diffusion, with the frames that a codec made of the
    clean audio as a guide. Settings that exclude each other raise InvalidInput.

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
        """Find the noise [B, C, N] in x [B, C, N]. `step` is one number for all rows or [B], below `num_steps`;
        `condition` [B, codec_dim, T] lies over the same time, and is refused where its width is another."""
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
