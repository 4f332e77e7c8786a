"""From noise to audio, step by step: which steps, by which rule, with which noise. A sample's noise is a function of a
seed and of its place, so that a piece of a recording comes out as it would within the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.modules.diffusion_schedule import NoiseSchedule

SOLVERS = ("ddpm", "ddim", "dpm")
_BLOCK = 1 << 15
"""Samples whose noise is drawn together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionSettings:
    """This record says how noise becomes audio.

    Args:
        steps: passes of each network; None: 21, as the original does.
        solver: "ddpm" adds fresh noise after each step (Ho et al. 2020); "ddim" adds none (Song et al. 2021); "dpm" is
            DPM-Solver++ of second order (Lu et al. 2022), which needs the fewest steps.
        seed: of all noise.
        eq: move the bands of the result towards those of the codec's own decoder.
    """

    steps: int | None = None
    solver: Literal["ddpm", "ddim", "dpm"] = "ddpm"
    seed: int = 0
    eq: bool = True

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise InvalidInput(
                f"solver must be one of {', '.join(SOLVERS)}, got {self.solver!r}", field="solver"
            )
        whole = isinstance(self.steps, int) and not isinstance(self.steps, bool)
        if self.steps is not None and not (whole and 1 <= self.steps <= 1000):
            raise InvalidInput(
                f"steps must be a whole number from 1 to 1000, got {self.steps!r}", field="steps"
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise InvalidInput(f"seed must be from 0 to 2**63 - 1, got {self.seed!r}", field="seed")

    def step_list(self, schedule: NoiseSchedule) -> list[int]:
        """List the steps of the way back, from the last to the first."""
        if self.steps is None:
            return schedule.checked_steps(None)
        if self.steps > schedule.num_steps:
            raise InvalidInput(
                f"steps is {self.steps}, and this model has {schedule.num_steps}", field="steps"
            )
        if self.solver == "dpm":
            return _even_in_level(schedule, self.steps)
        places = torch.linspace(schedule.num_steps - 1, 0, self.steps, device="cpu")
        return sorted({round(place) for place in places.tolist()}, reverse=True)


class Noise(Protocol):
    """This object draws the noise of one way back."""

    def draw(self, like: Tensor) -> Tensor:
        """Draw the next noise, of the shape of `like` [B, C, N]."""
        ...


class GlobalNoise:
    """This noise is drawn by torch's global generator, as the original's is."""

    def draw(self, like: Tensor) -> Tensor:
        return torch.randn_like(like)


class PlacedNoise:
    """This noise is a function of a seed, of the number of the draw, and of the place in the whole recording.

    Args:
        seed: any text that names the recording, the row and the band.
        start: the place of the first sample.
    """

    def __init__(self, seed: str, start: int = 0) -> None:
        self._seed, self._start, self._draws = seed, start, 0

    def draw(self, like: Tensor) -> Tensor:
        batch, channels, length = like.shape
        first, last = self._start // _BLOCK, (self._start + length - 1) // _BLOCK
        blocks = [self._block(number, batch * channels) for number in range(first, last + 1)]
        self._draws += 1
        offset = self._start - first * _BLOCK
        noise = torch.cat(blocks, dim=-1)[..., offset : offset + length]
        return noise.view(batch, channels, length).to(like)

    def _block(self, number: int, rows: int) -> Tensor:
        named = f"{self._seed}/{self._draws}/{number}".encode()
        seed = int.from_bytes(hashlib.blake2b(named, digest_size=8).digest()) >> 1
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(rows, _BLOCK, generator=generator, device="cpu")


def way_back(
    schedule: NoiseSchedule,
    network: Callable[..., Any],
    condition: Tensor,
    initial: Tensor,
    noise: Noise,
    *,
    steps: Sequence[int],
    solver: str = "ddpm",
    after_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return audio [B, C, N] as the network hears it, from the noise `initial`.

    Args:
        condition: what the codec heard, [B, D, T].
        steps: from the last to the first.
        after_step: called after each pass of the network; what it raises ends the way.
    """
    rules: dict[str, Callable[[], _Rule]]
    rules = {
        "ddpm": lambda: _Ddpm(schedule, noise),
        "ddim": lambda: _Ddim(schedule),
        "dpm": lambda: _Dpm(schedule),
    }
    rule = rules[solver]()
    current = initial
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        estimate = network(current, step, condition=condition).sample
        current = rule.next(current, estimate, step, following).clamp(-schedule.clip, schedule.clip)
        after_step()
    return current


class _Rule(Protocol):
    """A rule takes the steps back from the noise."""

    def next(self, current: Tensor, estimate: Tensor, step: int, following: int | None) -> Tensor:
        """Map the audio at `step` and the noise found in it to the audio at `following`, or to the clean audio."""
        ...


class _Ddpm:
    """This rule adds fresh noise after each step but the last two."""

    def __init__(self, schedule: NoiseSchedule, noise: Noise) -> None:
        self._schedule, self._noise = schedule, noise

    def next(self, current: Tensor, estimate: Tensor, step: int, following: int | None) -> Tensor:
        mean, level = self._schedule.step_back(current, estimate, step, following, variance="beta_tilde")
        return mean + level * self._noise.draw(mean) if following else mean


class _Ddim:
    """This rule puts the clean audio that is seen from here, with the noise that is seen from here, at the following
    level."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        self._schedule = schedule

    def next(self, current: Tensor, estimate: Tensor, step: int, following: int | None) -> Tensor:
        signal, level = _levels(self._schedule, step)
        clean = (current - level * estimate * self._schedule.noise_scale) / signal
        signal, level = _levels(self._schedule, following)
        return signal * clean + level * estimate * self._schedule.noise_scale


class _Dpm:
    """DPM-Solver++(2M): the clean audio is taken to change evenly with the logarithm of the signal-to-noise ratio."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        self._schedule = schedule
        self._before: tuple[Tensor, Tensor] | None = None  # clean audio, and by how much the ratio grew to it

    def next(self, current: Tensor, estimate: Tensor, step: int, following: int | None) -> Tensor:
        signal, level = _levels(self._schedule, step)
        clean = (current - level * estimate * self._schedule.noise_scale) / signal
        if following is None:
            return clean
        signal_there, level_there = _levels(self._schedule, following)
        growth = (signal_there / level_there).log() - (signal / level).log()
        straight = clean
        if self._before is not None:
            earlier, grown = self._before
            straight = clean + (clean - earlier) * growth / (2 * grown)
        self._before = clean, growth
        return level_there / level * current - signal_there * torch.expm1(-growth) * straight


def _levels(schedule: NoiseSchedule, step: int | None) -> tuple[Tensor, Tensor]:
    """Return the levels of audio and noise at a step; after the last one there is no noise."""
    alpha_bar = torch.ones((), device=schedule.betas.device) if step is None else schedule.get_alpha_bar(step)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def _even_in_level(schedule: NoiseSchedule, count: int) -> list[int]:
    """Return `count` steps from the last to the first, evenly far apart in the logarithm of the signal-to-noise
    ratio."""
    alpha_bar = schedule.get_alpha_bar().double().cpu()
    ratio = (alpha_bar / (1 - alpha_bar)).log()
    wanted = torch.linspace(float(ratio[-1]), float(ratio[0]), count, dtype=torch.float64, device="cpu")
    nearest = [int((ratio - value).abs().argmin()) for value in wanted]
    steps = [nearest[0], *(later for earlier, later in pairwise(nearest) if later < earlier)]
    return steps
