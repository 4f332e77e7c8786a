"""What recordings go through on their way to a listener, done to real audio and fakes alike, so that a detector learns
the decoder's traces and not the level, the noise or the band width of a corpus."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audiocraft.audio.pcm import in_steps
from audiocraft.config.analysis import DegradeConfig

_NOISE_DB = (-70.0, -45.0)
_CUTOFF_HZ = (4000.0, 11000.0)
_TILT_DB = 6.0
# The tilt turns around this frequency and reaches its full extent a decade away.
_PIVOT_HZ = 1000.0


def degrade(
    wavs: list[Tensor], sample_rate: int, config: DegradeConfig, random: np.random.Generator
) -> list[Tensor]:
    """Return each of `wavs` [C, N], changed in the same way; the noise is the same too. Ends on 16 bits."""
    response = _response(wavs[0].shape[-1], sample_rate, config, random)
    noise = _noise(wavs[0].shape, config, random)
    gain = 10 ** (-config.gain_db * random.random() / 20)
    changed = []
    for wav in wavs:
        if response is not None:
            wav = torch.fft.irfft(torch.fft.rfft(wav) * response.to(wav.device), n=wav.shape[-1])
        wav = wav * gain
        wav = wav if noise is None else wav + noise.to(wav.device)
        changed.append(in_steps(wav))
    return changed


def _response(length: int, rate: int, config: DegradeConfig, random: np.random.Generator) -> Tensor | None:
    """Return the spectrum's factors [length // 2 + 1]; None changes nothing. Draws the same numbers either way."""
    low, tilted, at, by = random.random(4)
    if low >= config.lowpass and tilted >= config.tilt:
        return None
    hertz = torch.fft.rfftfreq(length, 1 / rate)
    response = torch.ones_like(hertz)
    if low < config.lowpass:
        cutoff = _CUTOFF_HZ[0] * (_CUTOFF_HZ[1] / _CUTOFF_HZ[0]) ** at
        response = response / (1 + (hertz / cutoff) ** 16).sqrt()
    if tilted < config.tilt:
        slope = (hertz.clamp_min(20) / _PIVOT_HZ).log10().clamp(-1, 1)
        response = response * 10 ** (_TILT_DB * (2 * by - 1) * slope / 20)
    return response


def _noise(
    shape: torch.Size | tuple[int, ...], config: DegradeConfig, random: np.random.Generator
) -> Tensor | None:
    used, loud = random.random(2)
    values = random.standard_normal(tuple(shape), dtype=np.float32) if used < config.noise else None
    if values is None:
        return None
    return torch.from_numpy(values) * float(
        10 ** ((_NOISE_DB[0] + (_NOISE_DB[1] - _NOISE_DB[0]) * loud) / 20)
    )
