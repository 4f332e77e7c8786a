"""The detector of generated audio: three discriminators that were trained to tell recordings from what a codec's
decoder made of them, with scores that mean probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from audiocraft.adversarial import (
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    MultiScaleSTFTDiscriminator,
)
from audiocraft.config.analysis import DISCRIMINATORS, DetectorConfig
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.models.detectors.in_domain import Domain
from audiocraft.models.loaders import load_network

BUNDLED = "analysis-nano"
ShareReport = Callable[[float], object]
"""Told how much of some work is done, from 0 to 1."""
_CLASSES: Mapping[str, type[nn.Module]] = {
    "mpd": MultiPeriodDiscriminator,
    "msd": MultiScaleDiscriminator,
    "msstftd": MultiScaleSTFTDiscriminator,
}
# Windows that go through the networks at once: a long file costs no more memory than a short one.
_ROWS = 8
# Below this level (-70 dBFS) a window is silence, of which nobody can say who made it.
_SILENCE = 10 ** (-70 / 20)


@dataclass(frozen=True, slots=True)
class Windows:
    """This record holds raw results, one entry per window: `start` [W] in seconds, `scores` {discriminator: [W]},
    `distance` [W] from the training corpus, `heard` [W] false where it is silent."""

    start: Tensor
    scores: Mapping[str, Tensor]
    distance: Tensor
    heard: Tensor


class Detector(nn.Module):
    """This network has three discriminators that listen to mono audio at `config.sample_rate`."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.discriminators = nn.ModuleDict({name: _built(name, config) for name in DISCRIMINATORS})
        self.domain = Domain(config.sample_rate, config.domain.clusters)

    @property
    def window_samples(self) -> int:
        return round(self.config.window * self.config.sample_rate)

    def forward(self, wav: Tensor) -> dict[str, tuple[list[Tensor], list[list[Tensor]]]]:
        """Judge wav [B, 1, N] -> {discriminator: (logits, feature maps)}, lists over its sub-discriminators."""
        heard = self.levelled(wav)
        return {name: network(heard) for name, network in self.discriminators.items()}

    def levelled(self, wav: Tensor) -> Tensor:
        """Return wav [B, 1, N] as the networks hear it: its treble brought up, each row at the same level."""
        wav = torch.cat([wav[..., :1], wav[..., 1:] - self.config.emphasis * wav[..., :-1]], dim=-1)
        return wav / wav.square().mean(-1, keepdim=True).sqrt().clamp_min(_SILENCE)

    def raw_scores(self, wav: Tensor) -> dict[str, Tensor]:
        """Score wav [B, 1, N] -> {discriminator: [B]}: mean logit over places, then over sub-discriminators."""
        return {name: score_of(logits) for name, (logits, _) in self(wav).items()}

    @torch.inference_mode()
    def judge(self, wav: Tensor, *, most: int | None = None, step: ShareReport | None = None) -> Windows:
        """Map wav [N], on any device, to raw scores of its windows; a shorter one is filled by repeating it. Silent
        windows are not listened to: their scores and their distance are 0.

        Args:
            most: at most so many windows, spread evenly over a long file.
            step: called before each group of windows with the share that is done; it may raise to stop.
        """
        windows, start = self.cut(wav.to(next(self.parameters()).device), most=most)
        heard = self.audible(windows)
        rows = windows[heard]
        scores = {name: torch.zeros(len(windows), device=rows.device) for name in DISCRIMINATORS}
        distance = torch.zeros(len(windows), device=rows.device)
        places = heard.nonzero()[:, 0]
        for first in range(0, len(rows), _ROWS):
            if step is not None:
                step(first / len(rows))
            some, at = rows[first : first + _ROWS], places[first : first + _ROWS]
            for name, values in self.raw_scores(some[:, None]).items():
                scores[name][at] = values
            distance[at] = self.domain(some)
        return Windows(
            start=start,
            scores={name: values.cpu() for name, values in scores.items()},
            distance=distance.cpu(),
            heard=heard.cpu(),
        )

    @staticmethod
    def audible(windows: Tensor) -> Tensor:
        """Look at windows [W, n] -> which are not silent [W]."""
        return windows.square().mean(-1).sqrt() > _SILENCE

    def cut(self, wav: Tensor, *, most: int | None = None) -> tuple[Tensor, Tensor]:
        """Map wav [N] to (windows [W, n], their starts in seconds [W]); the last one ends where the audio ends. Where
        `most` is less than W, so many of them, evenly spread."""
        if wav.dim() != 1 or wav.numel() == 0:
            raise InvalidInput(f"the detector hears mono audio [N], got {list(wav.shape)}", field="wav")
        size, rate = self.window_samples, self.config.sample_rate
        if len(wav) < size:
            wav = wav.repeat(math.ceil(size / len(wav)))[:size]
        hop = max(1, round(self.config.hop * rate))
        starts = list(range(0, len(wav) - size + 1, hop))
        if starts[-1] + size < len(wav):
            starts.append(len(wav) - size)
        if most is not None and len(starts) > most:
            starts = [starts[round(place * (len(starts) - 1) / (most - 1))] for place in range(most)]
        return torch.stack([wav[start : start + size] for start in starts]), torch.tensor(
            starts, device="cpu"
        ) / rate

    def probability(self, name: str, raw: Tensor) -> Tensor:
        """Return a raw score of one discriminator as the probability that the audio is real."""
        platt = self.config.calibration.platt(name)
        return torch.sigmoid(platt.scale * raw + platt.shift)

    def joint(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Join the raw scores of all three into one logit."""
        weights = self.config.calibration.combined
        total = torch.stack([weights[name] * scores[name] for name in DISCRIMINATORS]).sum(0)
        return total + self.config.calibration.bias


def score_of(logits: list[Tensor]) -> Tensor:
    """Average the logits of the sub-discriminators, each [B, ...], into one number per row [B]."""
    return torch.stack([part.flatten(1).mean(1) for part in logits]).mean(0)


def load_detector(name: str | Path = BUNDLED, device: torch.device | str = "cpu") -> Detector:
    """Load the detector called `name` in eval mode: a bundled name, or a folder that `audiocraft train export`
    wrote."""
    detector, _ = load_network(name, kind="detector", device=device)
    assert isinstance(detector, Detector)
    return detector.requires_grad_(False)


def build_detector(config: DetectorConfig, *, device: torch.device | str = "cpu") -> Detector:
    """Return an untrained detector on `device`. It is small and computes its tables when it is built, so that it
    gets memory on the CPU where others are laid out on "meta"."""
    place = "cpu" if torch.device(device).type == "meta" else device
    return Detector(config).to(place).eval()


def _built(name: str, config: DetectorConfig) -> nn.Module:
    arguments = config.arguments(name)
    try:
        return _CLASSES[name](**arguments)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error
