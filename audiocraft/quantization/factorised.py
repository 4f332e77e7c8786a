"""The quantiser of the Descript Audio Codec: residual codebooks that look codes up by angle in a few dimensions
(Yu 2022; Kumar 2023). It keeps no statistics, so its codebooks are trained by gradients alone."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.quantization.base import BaseQuantizer, QuantizedResult, codebook_count


class FactorisedCodebook(nn.Module):
    """This codebook has `bins` codes in `codebook_dim` dimensions, with projections there and back."""

    def __init__(self, dimension: int, bins: int, codebook_dim: int) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(dimension, codebook_dim, 1)
        self.out_proj = nn.Conv1d(codebook_dim, dimension, 1)
        self.codebook = nn.Embedding(bins, codebook_dim)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project x [B, D, T] and return the projection [B, d, T] and the codes [B, T] that point in the most similar
        direction."""
        projected = self.in_proj(x)
        similarity = (
            F.normalize(projected.transpose(1, 2), dim=-1) @ F.normalize(self.codebook.weight, dim=-1).T
        )
        return projected, similarity.argmax(dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Turn codes [B, T] into frames [B, D, T]."""
        y: Tensor = self.out_proj(self.codebook(codes).transpose(1, 2))
        return y

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise x [B, D, T] and return the quantised frames [B, D, T], codes [B, T] and the penalty; the gradient
        passes straight through."""
        projected, codes = self.encode(x)
        chosen = self.codebook(codes).transpose(1, 2)
        penalty = 0.25 * F.mse_loss(projected, chosen.detach()) + F.mse_loss(chosen, projected.detach())
        return self.out_proj(projected + (chosen - projected).detach()), codes, penalty


class FactorisedResidualQuantizer(BaseQuantizer):
    """This quantiser is a stack of `n_q` factorised codebooks, each for what the ones before it left."""

    def __init__(self, dimension: int = 1024, n_q: int = 9, bins: int = 1024, codebook_dim: int = 8) -> None:
        super().__init__()
        self.dimension, self.n_q, self.bins = dimension, n_q, bins
        self.quantizers = nn.ModuleList(FactorisedCodebook(dimension, bins, codebook_dim) for _ in range(n_q))

    def forward(self, x: Tensor, frame_rate: float, *, n_q: int | None = None) -> QuantizedResult:
        """Quantise x [B, D, T] and return the quantised frames, codes [B, K, T], the bandwidth and the codebooks'
        penalty."""
        residual, total = x, torch.zeros_like(x)
        codes, penalties = [], []
        for layer in self.first(n_q):
            quantized, code, penalty = layer(residual)
            residual, total = residual - quantized, total + quantized
            codes.append(code)
            penalties.append(penalty)
        bandwidth = x.new_full((), len(codes) * math.log2(self.bins) * frame_rate / 1000)
        return QuantizedResult(
            total, torch.stack(codes, dim=1), bandwidth, penalty=torch.stack(penalties).mean()
        )

    def encode(self, x: Tensor, *, n_q: int | None = None) -> Tensor:
        """Turn frames x [B, D, T] into codes [B, K, T]."""
        codes = []
        for layer in self.first(n_q):
            _, code = layer.encode(x)
            x = x - layer.decode(code)
            codes.append(code)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Turn codes [B, K, T], K at most `total_codebooks`, into frames [B, D, T]."""
        layers = self.first(codes.shape[1])
        return torch.stack([layer.decode(codes[:, k]) for k, layer in enumerate(layers)]).sum(dim=0)

    def first(self, n_q: int | None = None) -> list[FactorisedCodebook]:
        """Return the first `n_q` codebooks, those in use by default."""
        layers = cast(list[FactorisedCodebook], list(self.quantizers))
        return layers[: self._active(n_q)]

    @property
    def total_codebooks(self) -> int:
        """Return how many codebooks there are."""
        return len(self.quantizers)

    @property
    def num_codebooks(self) -> int:
        """Return how many codebooks are in use unless a call says otherwise."""
        return self.n_q

    def set_num_codebooks(self, n: int) -> None:
        """Use the first `n` codebooks from now on; to change one call only, pass `n_q` to it."""
        self.n_q = self._active(n)

    def _active(self, n: int | None) -> int:
        return self.n_q if n is None else codebook_count(n, len(self.quantizers))
