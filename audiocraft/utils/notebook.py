"""Listening in a notebook. Kept for users of the original."""

from __future__ import annotations

import torch

from audiocraft.errors import InvalidInput, require


def display_audio(samples: torch.Tensor, sample_rate: int) -> None:
    """Show a player for each waveform of samples [B, C, N] or [C, N]."""
    if samples.dim() not in (2, 3):
        raise InvalidInput(f"samples are [B, C, N] or [C, N], got {list(samples.shape)}", field="samples")
    display = require("IPython.display", extra="notebook")
    for wav in samples.detach().cpu().float() if samples.dim() == 3 else [samples.detach().cpu().float()]:
        display.display(display.Audio(wav.clamp(-1, 1).numpy(), rate=sample_rate, normalize=False))
