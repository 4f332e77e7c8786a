"""Bounds for the levels that a decoder of oscillators and noise is told.

Codes that a language model drew need not be codes of any sound: corrections that never occur together add up to a
step that is ten times louder than music gets. Here the level of a step is bounded by what real sounds reach, and by
how loud the piece has been in the two seconds before. Levels up to half their bound pass unchanged in every bit; above
they bend towards it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.modules.harmonic.encoder import TONES_PER_FRAME

# Levels are roots of the summed squares of a step's amplitudes. Of 10,000 steps of music one has tones above 0.42 or
# noise above 0.84. Explosions reach noise of 4, whose peaks would be twice full scale.
_LOUDEST_TONES, _LOUDEST_NOISE = 1.0, 1.4
# The bound where it was silent before, and how many times the RMS of what was heard it may be where it was not.
_FIRST_TONES, _FIRST_NOISE = 0.5, 0.9
_TONES_OVER_RMS, _NOISE_OVER_RMS = 5.0, 12.0
# The power of audio per squared level.
_TONE_POWER, _NOISE_POWER = 0.5, 0.022
# Frames that are listened to, and how many before the present one are not: a burst must not make room for itself.
SPAN, GAP = 50, 2
# What a piece is taken to have sounded like before it began.
_USUAL_POWER = 0.08**2


def past_of(batch_size: int, like: Tensor) -> Tensor:
    """Return the powers [B, frames] that `bounded` remembers, of pieces that have not begun."""
    return like.new_full((batch_size, SPAN + GAP), _USUAL_POWER)


def bounded(
    tones: Tensor, noise: Tensor, past: Tensor, *, pooled: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Bound amplitudes of tones [B, T * a, tones] and noise [B, T * b, bands] -> both within their bounds, and what to
    remember [B, frames] for the frames that follow. A frame's bound depends on what came before it alone.

    Args:
        past: as remembered of the frames before.
        pooled: take means by pooling, which ONNX has, and not by views.
    """
    loud_tones, loud_noise = _level(tones), _level(noise)
    frames = tones.shape[1] // TONES_PER_FRAME
    heard = _TONE_POWER * _of_frames(_bent(loud_tones, _LOUDEST_TONES).square(), frames)
    heard = heard + _NOISE_POWER * _of_frames(_bent(loud_noise, _LOUDEST_NOISE).square(), frames)
    powers = torch.cat([past, heard], dim=-1)
    if pooled:
        means = F.avg_pool1d(powers.unsqueeze(1), SPAN, 1).squeeze(1)
    else:
        means = powers.unfold(-1, SPAN, 1).mean(dim=-1)
    rms = means[:, :frames].sqrt()  # [B, T]
    for_tones = (_TONES_OVER_RMS * rms).clamp(_FIRST_TONES, _LOUDEST_TONES)
    for_noise = (_NOISE_OVER_RMS * rms).clamp(_FIRST_NOISE, _LOUDEST_NOISE)
    remembered = powers[:, -past.shape[-1] :]
    return _within(tones, loud_tones, for_tones), _within(noise, loud_noise, for_noise), remembered


def leaves_unchanged(tones: Tensor, noise: Tensor) -> bool:
    """Return whether amplitudes are so quiet that no bound touches them, whatever came before."""
    loud = _level(tones) > _FIRST_TONES / 2, _level(noise) > _FIRST_NOISE / 2
    return not bool(loud[0].any() | loud[1].any())


def _level(amplitudes: Tensor) -> Tensor:
    """Return the level [B, steps] of amplitudes [B, steps, n]."""
    return amplitudes.square().sum(dim=-1).sqrt()


def _of_frames(powers: Tensor, frames: int) -> Tensor:
    """Return the mean powers [B, T] of the frames of steps [B, steps]."""
    return powers.unflatten(-1, (frames, -1)).mean(dim=-1)


def _bent(levels: Tensor, bound: Tensor | float) -> Tensor:
    """Bend levels, which from half the bound on approach it."""
    knee = bound / 2
    return torch.where(levels > knee, knee + knee * (1 - torch.exp(1 - levels / knee)), levels)


def _within(amplitudes: Tensor, levels: Tensor, bounds: Tensor) -> Tensor:
    """Bring amplitudes [B, steps, n] of these levels [B, steps] within the bounds [B, T] of their frames."""
    steps = levels.shape[-1] // bounds.shape[-1]
    bounds = bounds.unsqueeze(-1).expand(-1, -1, steps).flatten(1)
    gains = torch.where(levels > bounds / 2, _bent(levels, bounds) / levels.clamp_min(1e-9), 1.0)
    return amplitudes * gains.unsqueeze(-1)
