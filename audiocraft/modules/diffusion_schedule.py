"""The noise of a diffusion model: how much of it each step has, how a step takes some of it away, and what is done to
audio so that its bands are as loud as those of noise (MultiBandDiffusion, San Roman et al. 2023, arXiv 2308.02560).

    noisy(t) = sqrt(alpha_bar(t)) / rescale * audio + sqrt(1 - alpha_bar(t)) * noise_scale * noise
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import julius
import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput

_SILENCE = 1e-12
"""Bands that are quieter count as this loud."""


class TrainingItem(NamedTuple):
    """This record holds what a network learns from: `noise` is to be found in `noisy`, [B, C, N], at `step`, one for
    all or [B]."""

    noisy: Tensor
    noise: Tensor
    step: int | Tensor


def betas_from_alpha_bar(alpha_bar: Tensor) -> Tensor:
    """Return the share of noise that each step adds, [steps], from what is left of the audio's power after it,
    [steps]."""
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    return 1 - alpha_bar / before


class SampleProcessor(nn.Module):
    """This processor leaves audio as it is."""

    def project_sample(self, x: Tensor) -> Tensor:
        """Return audio [B, C, N] as the network hears it."""
        return x

    def return_sample(self, z: Tensor) -> Tensor:
        """Turn what the network made, [B, C, N], into audio."""
        return z


class MultiBandProcessor(SampleProcessor):
    """This processor gives every band of the audio the loudness that it has in white noise, as far as `power_std` says.
    How loud the bands are is learned from the first audio that it is given.

    Args:
        n_bands: equally wide on the mel scale.
        num_samples: pieces of audio after which it learns no more.
        power_std: 1 makes the bands exactly as loud as in noise, 0 leaves them as they are.
    """

    def __init__(
        self,
        n_bands: int = 8,
        sample_rate: float = 24_000,
        num_samples: int = 10_000,
        power_std: float | Sequence[float] | Tensor = 1.0,
    ) -> None:
        super().__init__()
        self.n_bands, self.num_samples = n_bands, num_samples
        self.split_bands = julius.SplitBands(sample_rate, n_bands=n_bands)
        self.power_std = (
            torch.as_tensor(power_std, dtype=torch.float32, device="cpu")
            if not isinstance(power_std, int | float)
            else power_std
        )
        self.counts: Tensor
        self.sum_x: Tensor
        self.sum_x2: Tensor
        self.sum_target_x2: Tensor
        self.register_buffer("counts", torch.zeros(1))
        for name in ("sum_x", "sum_x2", "sum_target_x2"):
            self.register_buffer(name, torch.zeros(n_bands))

    @property
    def mean(self) -> Tensor:
        """Return the mean of the samples of each band, [bands]."""
        return self.sum_x / self.counts

    @property
    def std(self) -> Tensor:
        """Return the loudness of each band, [bands]."""
        return (self.sum_x2 / self.counts - self.mean**2).clamp_min(0).sqrt()

    @property
    def target_std(self) -> Tensor:
        """Return what the loudness of each band is measured against, [bands]: the power of that band in white noise, as
        in the published models, whose networks know bands of this loudness."""
        return self.sum_target_x2 / self.counts

    def project_sample(self, x: Tensor) -> Tensor:
        bands = self.split_bands(x)  # [bands, B, C, N]
        if self.counts.item() < self.num_samples:
            self._learn(bands, self.split_bands(torch.randn_like(x)))
        scale = (self.target_std / self.std.clamp_min(_SILENCE)) ** self._power
        return ((bands - _column(self.mean)) * _column(scale)).sum(dim=0)

    def return_sample(self, x: Tensor) -> Tensor:
        scale = (self.std / self.target_std) ** self._power
        return (self.split_bands(x) * _column(scale) + _column(self.mean)).sum(dim=0)

    @property
    def _power(self) -> Any:
        power = self.power_std
        return power.to(self.counts.device) if isinstance(power, Tensor) else power

    def _learn(self, bands: Tensor, noise: Tensor) -> None:
        self.counts += bands.shape[1]
        self.sum_x += bands.mean(dim=(2, 3)).sum(dim=1)
        self.sum_x2 += bands.pow(2).mean(dim=(2, 3)).sum(dim=1)
        self.sum_target_x2 += noise.pow(2).mean(dim=(2, 3)).sum(dim=1)


def _column(values: Tensor) -> Tensor:
    """Return one value per band, as wide as bands [bands, B, C, N] are."""
    return values.view(-1, 1, 1, 1)


_NO_SIGMOID: Mapping[str, Any] = MappingProxyType({})


class NoiseSchedule:
    """This object says how much noise there is at each step, and what one step of the way back does (DDPM, Ho et al.
    2020).

    Args:
        beta_t0, beta_t1: share of noise that the first and the last step add.
        variance: of what a step back adds: "beta", or the smaller "beta_tilde".
        clip: samples on the way back stay within -clip ... clip.
        rescale: audio is divided by it.
        beta_exp: roots of this degree grow evenly from the first step to the last.
        repartition: "power", the only one.
        n_bands: None; noise in bands of its own was an experiment of the original.
        sample_processor: what is done to audio before and after.
        noise_scale: level of the noise.
        kwargs: other settings of the section `schedule` of a configuration, which are those of the learning rate.
    """

    def __init__(
        self,
        beta_t0: float = 1e-4,
        beta_t1: float = 0.02,
        num_steps: int = 1000,
        variance: str = "beta",
        clip: float = 5.0,
        rescale: float = 1.0,
        device: torch.device | str = "cuda",
        beta_exp: float = 1,
        repartition: str = "power",
        alpha_sigmoid: Mapping[str, Any] = _NO_SIGMOID,
        n_bands: int | None = None,
        sample_processor: SampleProcessor | None = None,
        noise_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        for name, value, wanted in (("repartition", repartition, ("power",)), ("n_bands", n_bands, (None,)),
                                    ("variance", variance, ("beta", "beta_tilde"))):  # fmt: skip
            if value not in wanted:
                told = " or ".join(map(repr, wanted))
                raise InvalidInput(f"{name} of a noise schedule must be {told}, got {value!r}", field=name)
        if alpha_sigmoid:
            raise InvalidInput("alpha_sigmoid has no meaning with repartition 'power'", field="alpha_sigmoid")
        if num_steps < 2:
            raise InvalidInput(f"a noise schedule has at least 2 steps, got {num_steps}", field="num_steps")
        self.beta_t0, self.beta_t1, self.num_steps, self.variance = beta_t0, beta_t1, num_steps, variance
        self.clip, self.rescale, self.noise_scale, self.n_bands = clip, rescale, noise_scale, n_bands
        self.repartition, self.alpha_sigmoid, self.device = repartition, alpha_sigmoid, device
        self.sample_processor = SampleProcessor() if sample_processor is None else sample_processor
        first, last = beta_t0 ** (1 / beta_exp), beta_t1 ** (1 / beta_exp)
        self.betas = torch.linspace(first, last, num_steps, device=device) ** beta_exp
        self._alpha_bar = (1 - self.betas).cumprod(dim=-1)

    def get_beta(self, step: int | Tensor) -> Tensor:
        """Return the share of noise that `step` adds."""
        return self.betas[step]

    def get_initial_noise(self, x: Tensor) -> Tensor:
        """Draw noise of the shape of x [B, C, N] at the level that the way back starts from."""
        return torch.randn_like(x) * self.noise_scale

    def get_alpha_bar(self, step: int | Tensor | None = None) -> Tensor:
        """Return what is left of the audio's power after `step`, or after each step, [steps]."""
        return self._alpha_bar if step is None else self._alpha_bar[step]

    def get_training_item(self, x: Tensor, tensor_step: bool = False) -> TrainingItem:
        """Return audio x [B, C, N] with the noise of a step that is drawn: one for all, or with `tensor_step` one
        per row."""
        step: int | Tensor
        if tensor_step:
            step = torch.randint(0, self.num_steps, (x.shape[0],), device=x.device)
        else:
            step = random.randrange(self.num_steps)
        noise = torch.randn_like(x)
        return TrainingItem(self.noisy(x, noise, step), noise, step)

    def noisy(self, x: Tensor, noise: Tensor, step: int | Tensor) -> Tensor:
        """Add the noise of `step`, one for all or [B], to audio x [B, C, N]."""
        alpha_bar = self.get_alpha_bar(step)
        alpha_bar = alpha_bar.view(-1, 1, 1) if alpha_bar.dim() else alpha_bar
        return alpha_bar.sqrt() / self.rescale * x + (1 - alpha_bar).sqrt() * self.noise_scale * noise

    def step_back(
        self,
        current: Tensor,
        estimate: Tensor,
        step: int,
        following: int | None,
        *,
        variance: str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Go from the noisy audio at `step` to that at `following`, or to clean audio.

        Args:
            estimate: the noise that the network finds in `current`.
            variance: of the noise to be added; None: as the schedule says.

        Returns:
            The audio without noise of its own, and the level of the noise to be added to it.
        """
        here = self.get_alpha_bar(step)
        there = torch.ones_like(here) if following is None else self.get_alpha_bar(following)
        alpha = here / there
        mean = (current - (1 - alpha) / (1 - here).sqrt() * estimate * self.noise_scale) / alpha.sqrt()
        power = 1 - alpha
        if (variance or self.variance) == "beta_tilde":
            power = power * (1 - there) / (1 - here)
        return mean, power.sqrt() * self.noise_scale

    @torch.no_grad()
    def generate(
        self,
        model: Callable[..., Any],
        initial: Tensor | None = None,
        condition: Tensor | None = None,
        return_list: bool = False,
    ) -> Tensor | list[Tensor]:
        """Return audio from noise by every step there is.

        Args:
            model: called with noisy audio, a step and `condition=`; the field `sample` of its answer is the noise.
            initial: the noise to start from, [B, C, N].
            return_list: the audio after each step in place of the last.
        """
        every = range(self.num_steps - 1, -1, -1)
        return self._generate(model, initial, every, condition, return_list, self.variance)

    @torch.no_grad()
    def generate_subsampled(
        self,
        model: Callable[..., Any],
        initial: Tensor,
        step_list: Sequence[int] | None = None,
        condition: Tensor | None = None,
        return_list: bool = False,
    ) -> Tensor | list[Tensor]:
        """Do what `generate` does by some of the steps, from the last to the first; by default every fiftieth. The
        noise between steps that lie far apart has the smaller variance, "beta_tilde"."""
        return self._generate(model, initial, step_list, condition, return_list, "beta_tilde")

    def _generate(
        self,
        model: Callable[..., Any],
        initial: Tensor | None,
        step_list: Sequence[int] | None,
        condition: Tensor | None,
        return_list: bool,
        variance: str,
    ) -> Tensor | list[Tensor]:
        if initial is None:
            raise InvalidInput("the way back starts from noise: pass initial, [B, C, N]", field="initial")
        steps = self.checked_steps(step_list)
        current, seen = initial, [initial]
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            estimate = model(current, step, condition=condition).sample
            current, level = self.step_back(current, estimate, step, following, variance=variance)
            if following:  # what step 0 adds nobody would take away
                current = current + level * torch.randn_like(current)
            current = current.clamp(-self.clip, self.clip)
            seen.append(current)
        if return_list:
            return [self.sample_processor.return_sample(each) for each in seen]
        return self.sample_processor.return_sample(current)

    def checked_steps(self, step_list: Sequence[int] | None) -> list[int]:
        """Return the steps of the way back: those given, which must fall from the last to the first, or every
        fiftieth."""
        if step_list is None:
            return [*range(self.num_steps - 1, 0, -50), 0]
        steps = [int(step) for step in step_list]
        falls = all(later < earlier for earlier, later in pairwise(steps))
        if not steps or not falls or steps[0] >= self.num_steps or steps[-1] < 0:
            raise InvalidInput(
                f"step_list must fall from at most {self.num_steps - 1} to at least 0, got {steps}",
                field="step_list",
            )
        return steps
