"""What the bundled codec hears: tones of a musical scale and bands of noise, and the encoder that projects them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.audio.mel import mel_filters
from audiocraft.errors import InvalidInput

TONES_PER_FRAME = 2
"""How often per frame the tones change."""
NOISES_PER_FRAME = 8
"""How often per frame the noise changes: drums need 5 ms."""

FLOOR = 5e-4
"""Amplitudes below this (-66 dB) are silence to the encoder: codes must not be spent on what nobody hears."""
NOISE_WEIGHT = 0.6
"""Noise fluctuates by chance; tones are what the codes are for."""

# A partial that was moved onto its tone is also heard this loud on both neighbours: without it, a partial that
# moves by a quarter tone would be all new to the codes.
_NEIGHBOURS = 0.3
# How many bins of the window a partial may lie beside the tone that hears it.
_REACH = 1.6


@dataclass(frozen=True, slots=True)
class ToneScale:
    """This record holds the tones and bands that both sides share.

    Args:
        hop: samples per frame; a multiple of 8.
        lowest: frequency of the first tone.
        per_octave: tones in an octave.
        octaves: of tones; above them there is only noise.
        bands: of noise, on the mel scale.
        floor: amplitude below which nothing is coded.
        noise_weight: of the levels of noise beside those of tones, where the codes weigh them.
        reassign: the encoder moves what it hears to the frequency that the phase tells (reassigned spectrum, Auger
            and Flandrin 1995); otherwise a partial is heard as wide as the window makes it, two octaves in the bass.
    """

    sample_rate: int
    hop: int
    lowest: float = 32.703
    per_octave: int = 24
    octaves: float = 8.0
    bands: int = 40
    floor: float = FLOOR
    noise_weight: float = NOISE_WEIGHT
    reassign: bool = False

    def __post_init__(self) -> None:
        if self.hop % NOISES_PER_FRAME or self.hop < 2 * NOISES_PER_FRAME:
            raise InvalidInput(
                f"a frame of {self.hop} samples cannot be split into {NOISES_PER_FRAME} equal steps; "
                f"use a multiple of {NOISES_PER_FRAME}",
                field="hop",
            )
        if self.lowest * 2**self.octaves >= self.sample_rate / 2:
            raise InvalidInput(
                f"tones up to {self.lowest * 2**self.octaves:.0f} Hz do not fit a sample rate of "
                f"{self.sample_rate}",
                field="octaves",
            )

    @property
    def tone_hop(self) -> int:
        return self.hop // TONES_PER_FRAME

    @property
    def noise_hop(self) -> int:
        return self.hop // NOISES_PER_FRAME

    @property
    def num_tones(self) -> int:
        return round(self.octaves * self.per_octave) + 1

    @property
    def widths(self) -> tuple[int, int]:
        """Return how many numbers a frame has: of tones and of noise."""
        return TONES_PER_FRAME * self.num_tones, NOISES_PER_FRAME * self.bands

    def frequencies(self) -> Tensor:
        """Compute the frequencies [tones] in cycles per sample, in float64."""
        steps = torch.arange(self.num_tones, dtype=torch.float64)
        return self.lowest / self.sample_rate * 2.0 ** (steps / self.per_octave)


class ConstantBuffers(nn.Module):
    """This module's own buffers are constants: they move with it, and keep their precision whatever the weights are
    cast to. Oscillators in half precision would be out of tune."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        constants, self._buffers = self._buffers, {}
        try:
            super()._apply(fn, recurse)
        finally:
            self._buffers = constants
        for name, constant in constants.items():
            if constant is not None:
                constants[name] = constant.to(fn(torch.empty(0, device=constant.device)).device)
        return self


class SpectralEncoder(ConstantBuffers):
    """This network turns audio [B, 1, N] into frames [B, dimension, ceil(N / hop)]: log magnitudes of tones and bands,
    projected.

    Nothing is learnt by gradient: `fit` takes the principal components of real frames, so that distances between
    frames, which the quantiser minimises, are distances between log spectra. A frame sees the sound on both sides.
    It computes in double precision: where a partial lies between two tones, or a frame between two codes, the last bit
    of a float would decide, and other programs (`portable.py`) would decide otherwise.
    """

    tones: Tensor
    window: Tensor
    filters: Tensor

    def __init__(self, scale: ToneScale, *, dimension: int = 96) -> None:
        super().__init__()
        self.scale = scale
        self.dimension = dimension
        self.hop_length = scale.hop
        with torch.device("cpu"):  # constants, also where a model is laid out on the meta device first
            self.register_buffer("tones", _kernels(scale), persistent=False)
            span = 4 * scale.noise_hop
            self.register_buffer("window", torch.hann_window(span).double(), persistent=False)
            filters = mel_filters(scale.sample_rate, span, scale.bands).double()
            self.register_buffer("filters", filters, persistent=False)
        self.projection = nn.Linear(sum(scale.widths), dimension)

    def forward(self, x: Tensor) -> Tensor:
        """Encode x [B, 1, N] -> [B, D, T]."""
        with torch.autocast(x.device.type, enabled=False):
            return self.projected(self._features(x)).transpose(1, 2)

    def projected(self, features: Tensor) -> Tensor:
        """Project features [B, T, F] in double precision -> [B, T, D] in that of the weights."""
        weight, bias = self.projection.weight, self.projection.bias
        return F.linear(features, weight.double(), bias.double()).to(weight.dtype)

    def features(self, x: Tensor) -> Tensor:
        """Map x [B, 1, N] to weighted log magnitudes [B, T, tones and bands of all steps]."""
        return self._features(x).float()

    def _features(self, x: Tensor) -> Tensor:
        x = x.double()
        hop = self.scale.hop
        frames = max(1, -(-x.shape[-1] // hop))
        x = F.pad(x[:, 0], (0, frames * hop - x.shape[-1]))
        scale = self.scale
        tones, bands = (
            torch.log10(self._tones(x, frames) + scale.floor),
            torch.log10(self._bands(x, frames) + scale.floor),
        )
        return torch.cat([tones, bands * scale.noise_weight], dim=-1)

    @property
    def reach(self) -> int:
        """Return the number of samples on each side of a frame that it hears."""
        return max(int(self.tones.shape[0]), int(self.window.shape[0]))

    @torch.no_grad()
    def fit(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Project onto the principal components of features [n, F], largest first; returns them [D, F] and the mean
        [F]."""
        mean = features.mean(dim=0)
        centred = (features - mean).double()
        _, directions = torch.linalg.eigh(centred.t() @ centred)  # ascending
        components = directions.flip(1)[:, : self.dimension].t().to(features)
        self.projection.weight.copy_(components)
        self.projection.bias.copy_(-components @ mean)
        return components, mean

    def _tones(self, x: Tensor, frames: int) -> Tensor:
        """Return amplitudes [B, T, 2 * tones]. Step j is centred at the end of its hop, where the decoder's peaks
        are."""
        size, hop = self.tones.shape[0], self.scale.tone_hop
        padded = F.pad(x, (size // 2 - hop, size // 2))
        parts = padded.unfold(-1, size, hop)[:, : frames * TONES_PER_FRAME] @ self.tones
        if self.scale.reassign:
            return reassigned(self.scale, parts).unflatten(1, (frames, -1)).flatten(2)
        real, imaginary = parts.chunk(2, dim=-1)
        return (real.square() + imaginary.square()).sqrt().unflatten(1, (frames, -1)).flatten(2)

    def _bands(self, x: Tensor, frames: int) -> Tensor:
        """Return magnitudes [B, T, 8 * bands]."""
        size, hop = self.window.shape[0], self.scale.noise_hop
        padded = F.pad(x, (size // 2 - hop, size // 2))
        spectrum = torch.stft(
            padded, size, hop, window=self.window, center=False, normalized=True, return_complex=True
        )
        power = self.filters @ spectrum.abs().square()[..., : frames * NOISES_PER_FRAME]  # [B, bands, steps]
        return power.sqrt().transpose(1, 2).unflatten(1, (frames, -1)).flatten(2)


@lru_cache(maxsize=2)
@torch.inference_mode(False)  # tensors that are made in inference mode cannot be trained with
def _kernels(scale: ToneScale) -> Tensor:
    """Return [samples, 2 or 4 * tones] in double precision, which models of one scale share: to work them out takes a
    third of the time in which a small codec is loaded."""
    return (reassigning_kernels(scale) if scale.reassign else tone_kernels(scale)).double()


def tone_kernels(scale: ToneScale) -> Tensor:
    """Return [samples, 2 * tones]: windowed cosines, then sines, of every tone. Low tones are heard through a long
    window, which tells semitones apart; high ones through a shorter one, which follows the rhythm."""
    windows, _, angles = _windows(scale)
    return torch.cat([windows * angles.cos(), windows * angles.sin()]).t().float().contiguous()


def reassigning_kernels(scale: ToneScale) -> Tensor:
    """Make the kernels [samples, 4 * tones]: those of `tone_kernels`, then the same with the derivative of the
    window."""
    windows, slopes, angles = _windows(scale)
    parts = [window * wave for window in (windows, slopes) for wave in (angles.cos(), angles.sin())]
    return torch.cat(parts).t().float().contiguous()


def reassigned(scale: ToneScale, parts: Tensor) -> Tensor:
    """Map what the reassigning kernels heard [B, steps, 4 * tones] to amplitudes [B, steps, tones].

    The phase says at which frequency a tone is really heard; all that hear one partial move onto its tone, and
    the loudest of them has its amplitude.
    """
    amplitudes, places = heard_places(scale, parts)
    return gathered(torch.zeros_like(amplitudes).scatter_reduce(-1, places, amplitudes, "amax"))


def heard_places(scale: ToneScale, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Map what the reassigning kernels heard [B, steps, 4 * tones] to amplitudes and the tones that they belong to,
    both [B, steps, tones]. What lies too far from the tone that hears it stays there without amplitude."""
    cosines, sines, sloped_cosines, sloped_sines = parts.chunk(4, dim=-1)
    power = cosines.square() + sines.square()
    frequencies = scale.frequencies().to(parts)
    beside = (sloped_sines * cosines - sloped_cosines * sines) / power.clamp_min(1e-12) / (2 * math.pi)
    heard = (frequencies + beside).clamp_min(1e-7)
    places = torch.round(scale.per_octave * torch.log2(heard * (scale.sample_rate / scale.lowest))).long()
    reach = _REACH / _spans(scale).to(parts)
    inside = (beside.abs() < reach) & (places >= 0) & (places < scale.num_tones)
    return power.sqrt() * inside, torch.where(
        inside, places, torch.arange(scale.num_tones, device=parts.device)
    )


def gathered(moved: Tensor) -> Tensor:
    """Let amplitudes [B, steps, tones] of partials on their tones be heard on both neighbours as well."""
    below, above = F.pad(moved[..., 1:], (0, 1)), F.pad(moved[..., :-1], (1, 0))
    return torch.maximum(moved, _NEIGHBOURS * torch.maximum(below, above))


def farthest_move(scale: ToneScale) -> int:
    """Return how many tones a partial may lie beside the one that hears it."""
    frequencies, reach = scale.frequencies() * scale.sample_rate, _REACH / _spans(scale) * scale.sample_rate
    steps = torch.arange(scale.num_tones, device=frequencies.device)
    found = [
        (
            scale.per_octave
            * torch.log2((frequencies + way * reach).clamp_min(scale.lowest / 2) / scale.lowest)
        ).round()
        for way in (-1, 1)
    ]
    return max(int((place.clamp(0, scale.num_tones - 1) - steps).abs().max()) for place in found)


def _longest(scale: ToneScale) -> int:
    return _power_of_two(0.17 * scale.sample_rate)


def _spans(scale: ToneScale) -> Tensor:
    """Return samples of each tone's window, [tones]."""
    longest = _longest(scale)
    return torch.where(scale.frequencies() * scale.sample_rate < 500, longest, longest // 2).double()


def _windows(scale: ToneScale) -> tuple[Tensor, Tensor, Tensor]:
    """Return windows, their slopes, and the angles of the tones under them, all [tones, samples]."""
    longest, spans = _longest(scale), _spans(scale)[:, None]
    times = torch.arange(longest, dtype=torch.float64) - longest / 2
    inside = (times.abs() < spans / 2).double()
    windows = 0.5 * (1 + torch.cos(2 * math.pi * times / spans)) * inside
    slopes = -torch.sin(2 * math.pi * times / spans) * math.pi / spans * inside
    total = windows.sum(dim=1, keepdim=True)
    angles = 2 * math.pi * scale.frequencies()[:, None] * times
    return windows / total * 2, slopes / total * 2, angles  # a sine of amplitude 1 measures 1


def _power_of_two(number: float) -> int:
    return 1 << round(math.log2(max(2.0, number)))
