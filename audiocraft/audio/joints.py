"""Where one stretch of audio takes over from another without anybody hearing it, and loops whose end leads into their
beginning.

A loop is made with what comes before its first bar line. Within its last bar, that lead takes over from the loop's own
end, where both sound most alike; so the last sample of the loop is followed by its first as it was made:

    made      | lead   | loop ............ last bar |
    loop               | loop ......... x  lead     |    and from the beginning
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput

_SPECTRUM_S = 0.08
_FADE_S = 0.04  # half of it lies on either side of a joint
_GRID_S = 0.005
_FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class Joint:
    """A joint is the place at which one stretch takes over from another.

    Args:
        at: sample of both stretches.
        flux: mean difference in decibels between the spectra of the 80 ms before and after, once they are joined.
    """

    at: int
    flux: float


def spectral_flux(mono: Tensor, places: Tensor, sample_rate: int) -> Tensor:
    """Measure mono [N] -> how much the spectrum changes at each of `places` [P], in decibels."""
    length = int(_SPECTRUM_S * sample_rate)
    steps = torch.arange(-length, length, device=mono.device)
    return _flux(mono[places.to(mono.device)[:, None] + steps], sample_rate)


def wrapped_flux(mono: Tensor, places: Tensor, sample_rate: int) -> Tensor:
    """Return the `spectral_flux` of a loop mono [N], which is followed by itself."""
    length = int(_SPECTRUM_S * sample_rate)
    steps = torch.arange(-length, length, device=mono.device)
    return _flux(mono[(places.to(mono.device)[:, None] + steps) % mono.shape[-1]], sample_rate)


def best_joint(one: Tensor, other: Tensor, sample_rate: int) -> Joint:
    """Return where `other` [C, N] can take over from `one` [C, N], which lasts as long, with the least change of sound.

    Raises:
        InvalidInput: they last less than 0.2 s.
    """
    length = int(_SPECTRUM_S * sample_rate)
    if one.shape[-1] < 2 * length:
        raise InvalidInput(
            f"{one.shape[-1] / sample_rate:.2f} s are too short to join two stretches in; 0.2 s are needed",
            field="audio",
        )
    places = torch.arange(length, one.shape[-1] - length + 1, max(1, int(_GRID_S * sample_rate)))
    steps = torch.arange(-length, length)
    around = places[:, None] + steps
    ramps = _ramps(steps, sample_rate)
    first, second = one.float().mean(0)[around], other.float().mean(0)[around]
    flux = _flux(_blend(first, second, *ramps), sample_rate)
    found = int(flux.argmin())
    return Joint(int(places[found]), float(flux[found]))


def joined(one: Tensor, other: Tensor, at: int, sample_rate: int) -> Tensor:
    """Join `one` [C, N] up to sample `at` and `other` [C, N] behind it; they fade into each other over 40 ms."""
    half = int(_FADE_S * sample_rate / 2)
    first, last = max(0, at - half), min(one.shape[-1], at + half)
    ramps = _ramps(torch.arange(first, last, device=one.device) - at, sample_rate)
    middle = _blend(one[:, first:last], other[:, first:last], *ramps)
    return torch.cat([one[:, :first], middle, other[:, last:]], dim=-1)


def _ramps(steps: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Return the gains of what ends and of what begins, so many samples from a joint."""
    half = _FADE_S * sample_rate / 2
    angle = ((steps / half).clamp(-1, 1) + 1) * (torch.pi / 4)
    return angle.cos(), angle.sin()


def _blend(one: Tensor, other: Tensor, falling: Tensor, rising: Tensor) -> Tensor:
    """Blend both in one, at an even level however alike they are: gains of equal power, divided by what alike sounds
    add."""
    crossing = (falling * rising) > 1e-6
    a, b = one[..., crossing].double(), other[..., crossing].double()
    energy = (a.square().sum(-1) * b.square().sum(-1)).sqrt().clamp_min(1e-12)
    alike = ((a * b).sum(-1) / energy).clamp(0, 1).float()[..., None]
    return (one * falling + other * rising) / (1 + 2 * alike * falling * rising).sqrt()


def _flux(around: Tensor, sample_rate: int) -> Tensor:
    """Return how much the spectrum changes in the middle of each of the stretches [P, 2 x 80 ms], as [P]."""
    length = int(_SPECTRUM_S * sample_rate)
    window = torch.hann_window(length, device=around.device)
    parts = (around[:, part] * window / (window.sum() / 2) for part in (slice(length), slice(length, None)))
    before, after = ((torch.fft.rfft(part).abs() + _FLOOR).log10() * 20 for part in parts)
    flux: Tensor = (after - before).abs().mean(dim=-1)
    return flux


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopJoin:
    """This processor turns `lead` seconds and the `duration` seconds of a loop behind them into the loop; an
    AudioProcessor that returns the loop alone."""

    lead: float
    duration: float

    def open(self, sample_rate: int, channels: int) -> LoopStream:
        """Begin one loop."""
        loop = round(self.duration * sample_rate)
        return LoopStream(
            round((self.lead + self.duration) * sample_rate) - loop, loop, sample_rate, channels
        )


class LoopStream:
    """This stream brings one loop on its way out. Its last bar, or as much as there is lead, comes at the end."""

    def __init__(self, lead: int, loop: int, sample_rate: int, channels: int) -> None:
        self._rate = sample_rate
        self._lead = lead
        self._hold = min(lead, loop)
        self._started = torch.zeros(channels, 0)
        self._held = torch.zeros(channels, 0)
        self._given = 0
        self.joint: Joint | None = None
        """Where the lead took over, in samples of the loop; None before the end."""

    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [C, n] and return those of the loop that are settled [C, m]."""
        missing = max(0, self._lead - self._started.shape[-1])
        if missing:
            self._started = torch.cat([self._started.to(audio), audio[:, :missing]], dim=-1)
        self._held = torch.cat([self._held.to(audio), audio[:, missing:]], dim=-1)
        ready = max(0, self._held.shape[-1] - self._hold)
        out, self._held = self._held[:, :ready], self._held[:, ready:]
        self._given += ready
        return out

    def finish(self) -> Tensor:
        """Return the end of the loop [C, m], which leads into its beginning."""
        end = self._held
        if not end.shape[-1]:
            return end
        lead = self._started[:, self._started.shape[-1] - end.shape[-1] :]
        found = best_joint(end, lead, self._rate)
        self.joint = Joint(self._given + found.at, found.flux)
        return joined(end, lead, found.at, self._rate)
