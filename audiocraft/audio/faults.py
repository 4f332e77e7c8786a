"""Faults that need no ear: silence, clipping, samples that are no numbers, what stands still, a tone that stays."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

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
# A tone stays while the loudest partial is the same and has half of the power. In 70 clips of rendered music that
# lasts for 1.0 s at the 95th percentile and for 1.8 s at most; bells, sirens and engines do it for longer.
_TONE_S, _TONE_SHARE, _TONE_BINS = 0.17, 0.5, 2


def is_silent(wav: Tensor) -> bool:
    """Return whether wav [..., N] as a whole stays below -50 dBFS RMS; nothing at all is silent too."""
    return not wav.numel() or float(wav.double().square().mean().sqrt()) < 10 ** (SILENT_DB / 20)


def is_clipped(wav: Tensor) -> bool:
    """Return whether more than one sample in a thousand of wav [..., N] is at full scale."""
    return bool(wav.numel()) and float((wav.abs() >= _FULL_SCALE).double().mean()) > CLIPPED_SHARE


def longest_still_s(wav: Tensor, sample_rate: int, *, silence: bool = True) -> float:
    """Return the length in seconds of the longest part of wav [N] whose spectrum does not change: no mel band above -40
    dB of the sound's peak moves by more than 0.1 dB in 40 ms.

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


class StandstillMeter:
    """This meter measures mono audio that comes in pieces: how long its spectrum does not change, as `longest_still_s`
    without silence says it, and how long one tone drowns all else. Memory does not grow with it."""

    def __init__(self, sample_rate: int) -> None:
        self._hop = max(1, round(_FRAME_S * sample_rate))
        size = 2 * self._hop
        tone = 1 << round(math.log2(max(2.0, _TONE_S * sample_rate)))
        self._filters = mel_filters(sample_rate, size, _BANDS, scale="slaney", area=True)
        self._windows = torch.hann_window(size), torch.hann_window(tone)
        self._heard = torch.zeros(0), torch.zeros(0)
        self._levels = torch.zeros(_BANDS, 0)
        self._partial = -1
        self._peaks = -math.inf, 0.0
        self._still, self._held = _Run(), _Run()

    @property
    def still_s(self) -> float:
        """Return the seconds of the longest part so far whose spectrum does not change."""
        return self._still.longest * _FRAME_S

    @property
    def held_s(self) -> float:
        """Return the seconds of the longest part so far in which one tone has more than half of the power."""
        return self._held.longest * _FRAME_S

    @property
    def holding_s(self) -> float:
        """Return the seconds for which, up to now, the spectrum has stood still or one tone had more than half of the
        power."""
        return max(self._still.present, self._held.present) * _FRAME_S

    def push(self, wav: Tensor) -> None:
        """Take the next samples [n]."""
        audio = wav.detach().to("cpu", torch.float32)
        still, held = (self._powers(audio, place) for place in (0, 1))
        if still.shape[-1]:
            self._hear_still(still)
        if held.shape[-1]:
            self._hear_held(held)

    def _powers(self, audio: Tensor, place: int) -> Tensor:
        """Return the power spectra [bins, frames] of the frames that are complete by now."""
        window = self._windows[place]
        heard = torch.cat([self._heard[place], audio])
        frames = max(0, (heard.shape[-1] - len(window)) // self._hop + 1)
        rest = heard[frames * self._hop :]
        self._heard = (rest, self._heard[1]) if place == 0 else (self._heard[0], rest)
        if not frames:
            return torch.zeros(len(window) // 2 + 1, 0)
        return torch.fft.rfft(heard.unfold(0, len(window), self._hop)[:frames] * window).abs().square().T

    def _hear_still(self, powers: Tensor) -> None:
        level = 10 * (self._filters @ powers).clamp_min(1e-10).log10()
        loudest = max(self._peaks[0], float(level.amax()))
        self._peaks = loudest, self._peaks[1]
        level = torch.cat([self._levels, level.clamp_min(loudest - _DEPTH_DB)], dim=1)
        self._levels = level[:, -1:]
        still = level.diff(dim=1).abs().amax(dim=0) < _STILL_DB
        self._still.add(still & (level[:, 1:] > loudest - _DEPTH_DB).any(dim=0))

    def _hear_held(self, powers: Tensor) -> None:
        total = powers.sum(dim=0)
        loudest = max(self._peaks[1], float(total.amax()))
        self._peaks = self._peaks[0], loudest
        partial = powers.argmax(dim=0)
        around = F.pad(powers, (0, 0, _TONE_BINS, _TONE_BINS)).unfold(0, 2 * _TONE_BINS + 1, 1).sum(dim=-1)
        share = around.gather(0, partial[None])[0] / total.clamp_min(1e-20)
        before = torch.cat([torch.tensor([self._partial]), partial[:-1]])
        self._partial = int(partial[-1])
        heard = total > loudest * 10 ** (-_DEPTH_DB / 10)
        self._held.add(((partial - before).abs() <= 1) & (share > _TONE_SHARE) & heard)


class _Run:
    """This object measures the longest run of true values in flags that come in pieces."""

    def __init__(self) -> None:
        self.longest = self.present = 0

    def add(self, flags: Tensor) -> None:
        for flag in flags.tolist():
            self.present = self.present + 1 if flag else 0
            self.longest = max(self.longest, self.present)


def longest_repetition_s(codes: Tensor, frame_rate: float) -> float:
    """Return the length in seconds of the longest run of one frame in codes [K, T]."""
    return longest_run((codes[:, 1:] == codes[:, :-1]).all(dim=0)) / frame_rate


def longest_run(flags: Tensor) -> int:
    """Return the length of the longest run of true values in flags [T]."""
    places = torch.arange(1, len(flags) + 1, device=flags.device)
    breaks = torch.where(flags, 0, places).cummax(dim=0).values if len(flags) else places
    return int((places - breaks).amax()) if len(flags) else 0
