"""Distance between spectra on a musical scale, where every octave counts the same and semitones stay apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.modules.harmonic.encoder import ToneScale, tone_kernels


class ConstantQLoss(nn.Module):
    """This loss is the mean absolute difference of log magnitudes, plus that of magnitudes as a share of the
    reference's.

    Linear spectra give half of their bins to the top octave and two dozen to the bass; a codec trained on them alone
    forgets pitch.

    Args:
        hop_length: samples between spectra.
        per_octave: tones in each octave; the first tone is C1.
        floor: magnitude below which differences are not heard.
        linear: weight of the second term.
    """

    kernels: Tensor

    def __init__(
        self,
        sample_rate: int = 24000,
        hop_length: int = 480,
        per_octave: int = 24,
        floor: float = 1e-3,
        linear: float = 1.0,
    ) -> None:
        super().__init__()
        scale = ToneScale(sample_rate=sample_rate, hop=16, per_octave=per_octave)
        self.hop_length, self.floor, self.linear = hop_length, floor, linear
        self.register_buffer("kernels", tone_kernels(scale), persistent=False)

    def magnitudes(self, x: Tensor) -> Tensor:
        """Transform wav x [B, C, N] into the magnitudes [B * C, frames, tones] of its tones."""
        size = self.kernels.shape[0]
        padded = F.pad(x.flatten(0, 1), (size // 2, size // 2))
        real, imaginary = (padded.unfold(-1, size, self.hop_length) @ self.kernels).chunk(2, dim=-1)
        return (real.square() + imaginary.square()).clamp_min(1e-12).sqrt()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the loss [] of an estimate x beside a reference y, both [B, C, N]."""
        estimate, reference = self.magnitudes(x), self.magnitudes(y)
        logs = F.l1_loss(torch.log(estimate + self.floor), torch.log(reference + self.floor))
        share = (estimate - reference).abs().sum() / (reference.sum() + self.floor)
        return logs + self.linear * share
