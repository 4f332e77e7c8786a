"""Faults that need no ear: silence, clipping, samples that are no numbers, and a sound that stands still."""

from __future__ import annotations

import torch
from torch import Tensor

from audiocraft.audio.mel import mel_filters

# The level in dB below full scale under which a whole sound counts as silent.
SILENT_DB = -50.0
# The share of samples at full scale above which a sound counts as clipped.
CLIPPED_SHARE = 0.001
# Seconds after which a spectrum that does not change is a fault. Held notes of instruments change all the time.
STUCK_S = 2.0
_FULL_SCALE = 0.999
# A frame is that of the bundled codec: one code repeated gives one spectrum repeated.
_FRAME_S = 0.04
_BANDS, _DEPTH_DB, _STILL_DB = 40, 40.0, 0.1


def is_silent(wav: Tensor) -> bool:
    """Whether wav [..., N] as a whole stays below -50 dBFS RMS; nothing at all is silent too."""
    return not wav.numel() or float(wav.double().square().mean().sqrt()) < 10 ** (SILENT_DB / 20)


def is_clipped(wav: Tensor) -> bool:
    """Whether more than one sample in a thousand of wav [..., N] is at full scale."""
    return bool(wav.numel()) and float((wav.abs() >= _FULL_SCALE).double().mean()) > CLIPPED_SHARE


def longest_still_s(wav: Tensor, sample_rate: int, *, silence: bool = True) -> float:
    """The length in seconds of the longest part of wav [N] whose spectrum does not change: no mel band above -40 dB of
    the sound's peak moves by more than 0.1 dB in 40 ms.

    Args:
        silence: whether parts below -40 dB throughout count too.
    """
    hop = max(1, round(_FRAME_S * sample_rate))
    if wav.shape[-1] <= hop:
        return 0.0
    filters = mel_filters(sample_rate, 2 * hop, _BANDS, scale="slaney", area=True).to(wav.device)
    window = torch.hann_window(2 * hop, device=wav.device)
    spectrum = torch.stft(wav.float(), 2 * hop, hop, window=window, pad_mode="constant", return_complex=True)
    level = 10 * (filters @ spectrum.abs().square()).clamp_min(1e-10).log10()  # [bands, frames]
    floor = level.amax() - _DEPTH_DB
    still = level.clamp_min(floor).diff(dim=1).abs().amax(dim=0) < _STILL_DB
    if not silence:
        still &= (level[:, 1:] > floor).any(dim=0)
    return longest_run(still) * hop / sample_rate


def longest_repetition_s(codes: Tensor, frame_rate: float) -> float:
    """The length in seconds of the longest run of one frame in codes [K, T]."""
    return longest_run((codes[:, 1:] == codes[:, :-1]).all(dim=0)) / frame_rate


def longest_run(flags: Tensor) -> int:
    """The length of the longest run of true values in flags [T]."""
    places = torch.arange(1, len(flags) + 1, device=flags.device)
    breaks = torch.where(flags, 0, places).cummax(dim=0).values if len(flags) else places
    return int((places - breaks).amax()) if len(flags) else 0
