"""The perceptual quality of speech by ITU-T P.862.2 (wide band), through the package `pesq` (extra [pesq])."""

from __future__ import annotations

import julius
import torch
from torch import Tensor

from audiocraft.errors import InvalidInput, require
from audiocraft.metrics.metric import Metric

_RATE = 16000


class PesqMetric(Metric):
    """This metric is the mean PESQ, -0.5 to 4.64, of pairs of sounds. Pairs in which the reference has no speech, or
    one is nothing at all, are left out.

    Args:
        sample_rate: of what it is given.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sr = sample_rate
        self._pesq = require("pesq", extra="pesq")
        self.left_out = 0

    def update(self, preds: Tensor, targets: Tensor) -> None:
        """Take preds and targets [B, N] or [B, C, N]; channels are mixed."""
        if preds.shape != targets.shape or preds.dim() not in (2, 3):
            raise InvalidInput(
                f"both are [B, N] or [B, C, N], got {list(preds.shape)} and {list(targets.shape)}",
                field="preds",
            )
        for found, wanted in zip(self._heard(preds), self._heard(targets), strict=True):
            if not bool(wanted.any()) or not bool(found.any()):  # the package divides by their peaks
                self.left_out += 1
                continue
            try:
                self.add(torch.tensor(self._pesq.pesq(_RATE, wanted.numpy(), found.numpy(), mode="wb")))
            except (self._pesq.NoUtterancesError, self._pesq.BufferTooShortError):
                self.left_out += 1

    def compute(self) -> Tensor:
        """Return the mean [] over all pairs.

        Raises:
            InvalidInput: no pair had any speech.
        """
        if self.left_out and not float(self.count):
            raise InvalidInput(
                f"none of {self.left_out} references has speech that PESQ can find; it is a measure of speech alone",
                field="targets",
            )
        mean: Tensor = super().compute()
        return mean

    def _heard(self, wav: Tensor) -> Tensor:
        wav = wav.mean(1) if wav.dim() == 3 else wav
        return julius.resample_frac(wav.detach().cpu().float(), self.sr, _RATE)
