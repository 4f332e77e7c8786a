"""Whether the places where windows meet can be heard: spectrum and level around them, against all other places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audiocraft.audio.joints import spectral_flux
from audiocraft.errors import InvalidInput

_LEVEL_S = 0.1
_GRID_S = 0.05
_APART_S = 0.5  # other places are at least so far from every seam
_FLOOR = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """This record holds one measure at seams and elsewhere.

    Args:
        chance_above: that a seam has a higher value than another place: 0.5 means that they cannot be told apart.
    """

    at_seams: float
    elsewhere: float
    chance_above: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Seams:
    """This record holds medians over all seams and over all other places.

    Args:
        flux: mean difference in decibels between the spectra of the 80 ms before and after.
        level: absolute difference in decibels between the 100 ms before and after.
    """

    count: int
    flux: Contrast
    level: Contrast


def measure_seams(pieces: Iterable[tuple[Tensor, Sequence[int]]], sample_rate: int) -> Seams:
    """Compare seams with all other places.

    Args:
        pieces: audio [C, N] and the samples of its seams.
    """
    flux: tuple[list[Tensor], list[Tensor]] = ([], [])
    level: tuple[list[Tensor], list[Tensor]] = ([], [])
    for audio, seams in pieces:
        mono = audio.float().mean(dim=0)
        for kind, places in enumerate(_places(mono.shape[-1], seams, sample_rate)):
            if len(places):
                flux[kind].append(spectral_flux(mono, places, sample_rate))
                level[kind].append(level_jump(mono, places, sample_rate))
    if not flux[0] or not flux[1]:
        raise InvalidInput(
            "there is no seam, or no place without one, far enough from both ends", field="pieces"
        )
    return Seams(count=sum(map(len, flux[0])), flux=_contrast(*flux), level=_contrast(*level))


def level_jump(mono: Tensor, places: Tensor, sample_rate: int) -> Tensor:
    """Measure mono [N] -> how much the level changes at each of `places` [P], in decibels."""
    length = int(_LEVEL_S * sample_rate)
    before, after = (
        (_pieces(mono, places + offset, length).square().mean(dim=-1) + _FLOOR**2).log10() * 10
        for offset in (-length, 0)
    )
    return (after - before).abs()


def _places(length: int, seams: Sequence[int], sample_rate: int) -> tuple[Tensor, Tensor]:
    margin, apart = int(_LEVEL_S * sample_rate) + 1, int(_APART_S * sample_rate)
    grid = torch.arange(margin, max(margin, length - margin), int(_GRID_S * sample_rate))
    at = torch.tensor([seam for seam in seams if margin <= seam <= length - margin], dtype=torch.long)
    if len(at):
        grid = grid[((grid[:, None] - at).abs() >= apart).all(dim=1)]
    return at, grid


def _pieces(mono: Tensor, starts: Tensor, length: int) -> Tensor:
    return mono[starts[:, None] + torch.arange(length)]


def _contrast(at: list[Tensor], elsewhere: list[Tensor]) -> Contrast:
    one, other = torch.cat(at), torch.cat(elsewhere)
    above = (one[:, None] > other).double().mean() + 0.5 * (one[:, None] == other).double().mean()
    return Contrast(at_seams=float(one.median()), elsewhere=float(other.median()), chance_above=float(above))
