"""What spoils sound, to a known strength: noise, a low pass, clipping, a codec with few codebooks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audiocraft.config.embedding import DAMAGES, DamageConfig
from audiocraft.models.encodec import CompressionModel

# Above the cutoff the low pass falls by so many powers: a steep filter, as converters and codecs have.
_STEEPNESS = 16


def damage(
    wav: Tensor,
    sample_rate: int,
    config: DamageConfig,
    random: np.random.Generator,
    codec: CompressionModel | None,
) -> tuple[Tensor, Tensor]:
    """Return wav [N] damaged in at most one way [N], and the strength of each kind [kinds], 0 to 1."""
    strengths = torch.zeros(len(DAMAGES))
    whether, which, strength, colour, gain = random.random(5)
    if whether < config.share:
        kind = _kind(which, config.codec if codec is not None else 0.0)
        if kind == "noise":
            wav = with_noise(wav, between(config.noise_db, strength), random, pink=colour < 0.5)
        elif kind == "lowpass":
            low, high = np.log(config.lowpass_hz)
            wav = low_passed(wav, sample_rate, float(np.exp(between((low, high), strength))))
        elif kind == "clipping":
            wav = clipped(wav, config.drive_db * strength)
        else:
            assert codec is not None
            wav, strength = _coded(wav, codec, strength)
        strengths[DAMAGES.index(kind)] = strength
    return wav * 10 ** (config.gain_db * (2 * gain - 1) / 20), strengths


def between(ends: tuple[float, float], place: float) -> float:
    """Return the value at `place`, 0 to 1, between two ends."""
    return float(ends[0] + (ends[1] - ends[0]) * place)


def with_noise(wav: Tensor, ratio_db: float, random: np.random.Generator, *, pink: bool = False) -> Tensor:
    """Add white or pink noise to wav [N], so far below it in decibels."""
    noise = torch.from_numpy(random.standard_normal(len(wav), dtype=np.float32))
    if pink:
        spectrum = torch.fft.rfft(noise)
        noise = torch.fft.irfft(spectrum / torch.arange(1, len(spectrum) + 1).sqrt(), n=len(wav))
    level = wav.square().mean().sqrt() / noise.square().mean().sqrt()
    return wav + noise * level * 10 ** (-ratio_db / 20)


def low_passed(wav: Tensor, sample_rate: int, cutoff_hz: float) -> Tensor:
    """Return wav [N] without what lies above a frequency."""
    hertz = torch.fft.rfftfreq(len(wav), 1 / sample_rate)
    response = 1 / (1 + (hertz / cutoff_hz) ** _STEEPNESS).sqrt()
    return torch.fft.irfft(torch.fft.rfft(wav) * response, n=len(wav))


def clipped(wav: Tensor, drive_db: float) -> Tensor:
    """Return wav [N] driven above full scale by so much, and cut off there; as loud as it was."""
    driven = (wav / wav.abs().amax().clamp_min(1e-9) * 10 ** (drive_db / 20)).clamp(-1, 1)
    level = wav.square().mean().sqrt() / driven.square().mean().sqrt().clamp_min(1e-9)
    return driven * level


def _kind(draw: float, codec_share: float) -> str:
    if draw < codec_share:
        return "codec"
    others = [name for name in DAMAGES if name != "codec"]
    return others[min(int((draw - codec_share) / (1 - codec_share) * len(others)), len(others) - 1)]


@torch.no_grad()
def _coded(wav: Tensor, codec: CompressionModel, strength: float) -> tuple[Tensor, float]:
    """Bring wav [N] through a codec with fewer codebooks the stronger, and return it with how strong that is."""
    count = codec.num_codebooks
    kept = count - min(int(strength * count), count - 1)
    codes, scale = codec.encode(wav.expand(1, codec.channels, -1))
    decoded = codec.decode(codes[:, :kept], scale)[0].mean(0)[: len(wav)]
    return torch.nn.functional.pad(decoded, (0, len(wav) - len(decoded))), (count - kept + 1) / count
