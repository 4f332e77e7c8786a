"""How strongly each pitch sounds: the melody of a recording as a matrix, without anything learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOWEST_PITCH = 43
"""The MIDI number of the first pitch, G2; 53 pitches reach to B6, where voices and most instruments sing."""
FRAME_RATE = 50.0
_RATE = 22050
_WINDOW, _FFT = 4096, 16384
_HARMONICS = 8
_DECAY = 0.8  # of the weight of each harmonic
_SOUNDING = 0.2
"""Of the loudest moment, in roots of amplitude: what is softer has no melody."""


@torch.no_grad()
def melody_salience(
    wav: Tensor, sample_rate: int, *, pitches: int = 53, strongest_only: bool = True
) -> tuple[Tensor, float]:
    """Return the salience [pitches, T] of each semitone of wav [C, N] from `LOWEST_PITCH` on, in 0 ... 1, and its
    frames per second. A pitch is as salient as its first harmonics are loud together (Salamon and Gomez 2012).

    Args:
        strongest_only: keep the most salient pitch of each frame, as 1, and nothing where it is quiet.
    """
    from audiocraft.audio.convert import convert_audio

    mono = convert_audio(wav.float().cpu(), sample_rate, _RATE, 1)
    hop = round(_RATE / FRAME_RATE)
    window = torch.hann_window(_WINDOW)
    padded = torch.nn.functional.pad(mono, (_FFT // 2, _FFT // 2))
    spectrum = torch.stft(
        padded, _FFT, hop, win_length=_WINDOW, window=window, center=False, return_complex=True
    )[0].abs()
    frames = max(1, math.ceil(mono.shape[-1] / hop))
    spectrum = (spectrum[:, :frames] / spectrum.max().clamp(min=1e-9)).sqrt()
    salience = torch.zeros(pitches, spectrum.shape[-1])
    for pitch in range(pitches):
        fundamental = 440 * 2 ** ((LOWEST_PITCH + pitch - 69) / 12)
        for harmonic in range(1, _HARMONICS + 1):
            place = harmonic * fundamental * _FFT / _RATE
            low, high = round(place * 2 ** (-1 / 48)), round(place * 2 ** (1 / 48))
            if high >= spectrum.shape[0]:
                break
            salience[pitch] += _DECAY ** (harmonic - 1) * spectrum[low : high + 1].amax(0)
    salience = salience / salience.max().clamp(min=1e-9)
    if not strongest_only:
        return salience, FRAME_RATE
    loudness = spectrum.amax(0)
    sounding = (loudness > _SOUNDING * loudness.max()) & (loudness > 0)
    best = torch.nn.functional.one_hot(salience.argmax(0), pitches).T.float()
    return best * sounding, FRAME_RATE
