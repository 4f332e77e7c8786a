"""Whether a sound is of the kind that a detector was trained on: how far simple statistics of its spectrum lie from
those of the training corpus."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from audiocraft.audio.mel import mel_filters

_N_FFT, _HOP, _BANDS = 1024, 512, 32
_SHAPE, _MOVEMENT = 12, 6  # how many cosine coefficients are kept of the mean spectrum, and of its movement
FEATURES = _SHAPE + 2 * _MOVEMENT + 6
_SHRINKAGE = 0.05
# How much farther away a sound gets per unit of restlessness that it lacks.
_STEEPNESS = 40.0
_ROWS, _NOISE_ROWS = 64, 64
_STILLEST = 0.01  # the share of the corpus's windows that is stiller than all others


class Domain(nn.Module):
    """This module holds clusters of a corpus's windows, each with a covariance of its own. The level of a sound does
    not matter.

    Stationary noise lies among rain and wind by its spectrum; what it lacks is any movement beyond that of noise.
    """

    centres: Tensor
    whitening: Tensor
    weight: Tensor
    still: Tensor
    noise: Tensor
    filters: Tensor
    cosines: Tensor

    def __init__(self, sample_rate: int, clusters: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(clusters, FEATURES))
        self.register_buffer("whitening", torch.eye(FEATURES).repeat(clusters, 1, 1))
        self.register_buffer("weight", torch.full((clusters,), -math.log(clusters)))
        self.register_buffer("still", torch.tensor(-100.0))
        self.register_buffer("noise", torch.ones(_BANDS))
        self.register_buffer("filters", mel_filters(sample_rate, _N_FFT, _BANDS), persistent=False)
        bands = torch.arange(_BANDS) + 0.5
        orders = torch.arange(_SHAPE)[:, None]
        self.register_buffer("cosines", torch.cos(math.pi / _BANDS * orders * bands), persistent=False)

    def features(self, wav: Tensor) -> Tensor:
        """Map wav [B, N] to [B, FEATURES]: shape of the spectrum, how it moves, how noisy it is, how peaked the
        wave."""
        wav = _levelled(wav)
        power, level, decibels = self._spectra(wav)
        mean = decibels.mean(-1)
        spread, change = decibels.std(-1), decibels.diff(dim=-1).abs().mean(-1)
        flatness = (power + 1e-8 * level).log().mean(1) - (power + 1e-8 * level).mean(1).log()  # [B, t]
        loudness = (power.mean(1) + 1e-6 * level[:, 0]).log()
        steps = loudness.diff(dim=-1)
        crest = wav.abs().amax(-1).clamp_min(1e-6).log()
        tonal = power.amax(1).div(power.sum(1) + 1e-9)
        return torch.cat(
            [
                mean @ self.cosines.T / _BANDS,
                spread @ self.cosines[:_MOVEMENT].T / _BANDS,
                change @ self.cosines[:_MOVEMENT].T / _BANDS,
                torch.stack(
                    [
                        flatness.mean(-1),
                        flatness.std(-1),
                        loudness.std(-1),
                        steps.std(-1),
                        crest,
                        tonal.mean(-1),
                    ],
                    dim=1,
                ),
            ],
            dim=1,
        )

    def _spectra(self, wav: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map wav [B, N] to (power [B, bins, t], its mean [B, 1, 1], bands in dB beside that [B, bands, t])."""
        window = torch.hann_window(_N_FFT, device=wav.device)
        power = torch.stft(wav, _N_FFT, _HOP, window=window, return_complex=True).abs().square()
        level = power.mean(dim=(1, 2), keepdim=True) + 1e-9  # silence has no spectrum; it must not become NaN
        return power, level, (self.filters @ power / level + 1e-6).log10() * 10

    def restlessness(self, wav: Tensor) -> Tensor:
        """Measure wav [B, N] -> how much more the bands move than those of stationary noise, which have 0 [B]. Of the
        livelier bands: those that a low-pass emptied do not move."""
        *_, decibels = self._spectra(_levelled(wav))
        return (decibels.std(-1) / self.noise).clamp_min(1e-3).log().quantile(0.75, dim=1)

    def forward(self, wav: Tensor) -> Tensor:
        """Judge wav [B, N] -> how unlikely each row is in the corpus [B]: minus its log density, per dimension, and
        more for noise that is stiller than anything there."""
        return self._rarity(wav) + _STEEPNESS * (self.still - self.restlessness(wav)).clamp_min(0)

    def _rarity(self, wav: Tensor) -> Tensor:
        points = self.features(wav)[:, None] - self.centres  # [B, clusters, FEATURES]
        spread = torch.einsum("bkf,kfg->bkg", points, self.whitening).square().sum(-1)
        scale = self.whitening.diagonal(dim1=1, dim2=2).clamp_min(1e-12).log().sum(-1)
        return -torch.logsumexp(self.weight + scale - spread / 2, dim=1) / FEATURES

    @torch.no_grad()
    def fit(self, wav: Tensor) -> None:
        """Learn the windows wav [M, N] of a corpus."""
        noise = torch.randn(_NOISE_ROWS, wav.shape[-1], generator=torch.Generator().manual_seed(0))
        *_, decibels = self._spectra(noise.to(wav.device))
        self.noise.copy_(decibels.std(-1).mean(0))
        # Half way between stationary noise and the stillest sounds that are known.
        least = torch.cat([self.restlessness(rows) for rows in wav.split(_ROWS)]).quantile(_STILLEST)
        self.still.copy_(least.clamp_min(0) / 2)
        self._place(torch.cat([self.features(rows) for rows in wav.split(_ROWS)]))

    def _place(self, features: Tensor, *, rounds: int = 30) -> None:
        """Place the clusters in features [M, FEATURES] by k-means, and take each one's share and covariance, drawn
        towards the covariance around all of them by as much as FEATURES further points would."""
        clusters = len(self.centres)
        scale = features.std(0).clamp_min(1e-6)
        points = features / scale
        # A fixed start: the farthest point from those that are chosen, from the one nearest to the mean on.
        chosen = [int((points - points.mean(0)).norm(dim=1).argmin())]
        for _ in range(1, min(clusters, len(points))):
            chosen.append(int(torch.cdist(points, points[chosen]).amin(1).argmax()))
        centres = points[chosen]
        for _ in range(rounds):
            nearest = torch.cdist(points, centres).argmin(1)
            centres = torch.stack(
                [
                    points[nearest == k].mean(0) if (nearest == k).any() else old
                    for k, old in enumerate(centres)
                ]
            )
        nearest = torch.cdist(points, centres).argmin(1)
        residual = ((points - centres[nearest]) * scale).double()
        pooled = residual.T @ residual / max(1, len(residual) - 1)
        pooled = (1 - _SHRINKAGE) * pooled + torch.diag(_SHRINKAGE * pooled.diagonal() + 1e-6)
        for k in range(clusters):
            own = residual[nearest == k] if k < len(centres) else residual[:0]
            covariance = (own.T @ own + FEATURES * pooled) / (len(own) + FEATURES)
            # (x - c)' C⁻¹ (x - c) = |(x - c)' L|² with C⁻¹ = L L'
            self.whitening[k] = torch.linalg.cholesky(torch.linalg.inv(covariance)).float()
            self.centres[k] = (centres[k] if k < len(centres) else centres[0]) * scale
            self.weight[k] = math.log(max(len(own), 1e-6) / len(points))


def _levelled(wav: Tensor) -> Tensor:
    """Return wav [B, N], each row at the same level."""
    return wav / wav.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
