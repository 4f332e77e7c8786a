"""Watermarks (AudioSeal, arXiv 2401.17264): an inaudible mark in audio that says, sample by sample, that a machine made
it, and may carry a message."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn

from audiocraft.config.watermark import WatermarkConfig
from audiocraft.errors import CheckpointError
from audiocraft.models.loaders import load_audioseal_half, load_audioseal_models
from audiocraft.models.watermarks.marking import decisions_on, mark_of
from audiocraft.models.watermarks.modulation import (
    ModulationDetector,
    ModulationGenerator,
    build_modulation_marks,
)
from audiocraft.models.watermarks.seanet import (
    SEANetMarkDetector,
    SEANetMarkGenerator,
    build_seanet_marks,
)
from audiocraft.utils.devices import usable_device
from audiocraft.utils.meta_init import laid_out_on

Generator = SEANetMarkGenerator | ModulationGenerator
TrainedDetector = SEANetMarkDetector | ModulationDetector


class WMModel(ABC, nn.Module):
    """This model has a watermark: a mark that is added to audio, and what finds it again."""

    @abstractmethod
    def get_watermark(self, x: Tensor, message: Tensor | None = None, sample_rate: int = 16_000) -> Tensor:
        """Map x [B, C, N] to the mark [B, C, N] that is to be added to it."""

    @abstractmethod
    def detect_watermark(self, x: Tensor) -> Tensor:
        """Listen to x [B, C, N] at the model's rate and return [B, 2 + nbits, N]: probabilities of "clean" and
        "marked" of each sample, then a logit for each bit."""


class AudioSeal(WMModel):
    """This model has a generator and a detector that were trained together.

    Args:
        nbits: length of the message that a mark carries; 0 for none.
    """

    def __init__(self, generator: nn.Module, detector: nn.Module, nbits: int = 0) -> None:
        super().__init__()
        self.generator, self.detector = generator, detector
        self.nbits = nbits

    @property
    def sample_rate(self) -> int:
        """Return the samples per second of the audio that the networks hear."""
        rate: int = self.generator.sample_rate  # type: ignore[assignment]
        return rate

    def get_watermark(self, x: Tensor, message: Tensor | None = None, sample_rate: int = 16_000) -> Tensor:
        """Return the mark of audio, which is to be added to it.

        Args:
            x: audio [B, C, N], mono or stereo.
            message: bits 0 and 1, [nbits] or [B, nbits]; None: drawn at random.
            sample_rate: of x; only the mark is resampled.

        Raises:
            InvalidInput: a message of another length, more than two channels, or samples that are no numbers.
        """
        return mark_of(self.generator, x, message, sample_rate)  # type: ignore[arg-type]

    def forward(
        self, x: Tensor, message: Tensor | None = None, sample_rate: int = 16_000, alpha: float = 1.0
    ) -> Tensor:
        """Return x [B, C, N] with its mark, `alpha` times as strong as it was trained."""
        return x + alpha * self.get_watermark(x, message=message, sample_rate=sample_rate)

    def detect_watermark(self, x: Tensor, sample_rate: int | None = None, every: int = 1) -> Tensor:
        """Return where the mark is, and what it says: see `WMModel.detect_watermark`.

        Args:
            sample_rate: of x; None: the model's. Decisions are on samples at the model's rate.
            every: only those on each `every`-th of these samples.
        """
        rate = self.sample_rate if sample_rate is None else sample_rate
        return decisions_on(self.detector, x, rate, every)  # type: ignore[arg-type]

    @staticmethod
    def get_pretrained(name: str = "base", device: torch.device | str | None = None) -> WMModel:
        """Load the watermark called `name`: a bundled one, `base` for the original's, a folder, or an id on the hub."""
        return load_audioseal_models(name, device=usable_device(device))

    @staticmethod
    def load_generator(
        name: str | Path = "audioseal_wm_16bits", nbits: int | None = None
    ) -> WatermarkGenerator:
        """Load only the half that marks, with the calls of the package `audioseal`.

        Args:
            name: `audioseal_wm_16bits`, any name of a watermark, or a `generator_*.pth`.
            nbits: that are expected of it; None: whatever it has.
        """
        return WatermarkGenerator(_half(name, "generator", nbits))  # type: ignore[arg-type]

    @staticmethod
    def load_detector(
        name: str | Path = "audioseal_detector_16bits", nbits: int | None = None
    ) -> WatermarkDetector:
        """Load only the half that listens, with the calls of the package `audioseal`; see `load_generator`."""
        return WatermarkDetector(_half(name, "detector", nbits))  # type: ignore[arg-type]


def _half(name: str | Path, half: str, nbits: int | None) -> nn.Module:
    found, config = load_audioseal_half(name, half)
    if nbits is not None and config.audioseal.nbits != nbits:
        raise CheckpointError(f"{name} carries {config.audioseal.nbits} bits, not {nbits}")
    return found


def build_watermark(config: WatermarkConfig, *, device: torch.device | str = "cpu") -> AudioSeal:
    """Build an untrained watermark on `device` in eval mode; on "meta" nothing is allocated."""
    build = {"seanet": build_seanet_marks, "modulation": build_modulation_marks}[config.audioseal.autoencoder]
    with laid_out_on(device):
        generator, detector = build(config)
        return AudioSeal(generator, detector, nbits=config.audioseal.nbits).eval()


class WatermarkGenerator(nn.Module):
    """This module is the half that marks, with the calls of the package `audioseal`."""

    def __init__(self, network: Generator) -> None:
        super().__init__()
        self.network = network
        self.nbits, self.sample_rate = network.nbits, network.sample_rate

    def get_watermark(
        self, x: Tensor, sample_rate: int | None = None, message: Tensor | None = None
    ) -> Tensor:
        """Map x [B, C, N] to its mark [B, C, N]; see `AudioSeal.get_watermark`."""
        return mark_of(self.network, x, message, self.sample_rate if sample_rate is None else sample_rate)

    def forward(
        self, x: Tensor, sample_rate: int | None = None, message: Tensor | None = None, alpha: float = 1.0
    ) -> Tensor:
        """Return x [B, C, N] with its mark."""
        return x + alpha * self.get_watermark(x, sample_rate, message)


class WatermarkDetector(nn.Module):
    """This module is the half that listens, with the calls of the package `audioseal`."""

    def __init__(self, network: TrainedDetector) -> None:
        super().__init__()
        self.network = network
        self.nbits, self.sample_rate = network.nbits, network.sample_rate

    def forward(self, x: Tensor, sample_rate: int | None = None) -> tuple[Tensor, Tensor]:
        """Listen to x [B, C, N] and return the probabilities of "clean" and "marked" of each sample [B, 2, N'], and
        the probability of each bit over the whole [B, nbits]."""
        found = decisions_on(self.network, x, self.sample_rate if sample_rate is None else sample_rate)
        return found[:, :2], torch.sigmoid(found[:, 2:].mean(-1))

    def detect_watermark(
        self,
        x: Tensor,
        sample_rate: int | None = None,
        message_threshold: float = 0.5,
        detection_threshold: float = 0.5,
    ) -> tuple[float, Tensor]:
        """Map x [B, C, N] to the share of its samples that are marked, and to the message [B, nbits] of 0 and 1.

        Args:
            message_threshold: of the probability of a bit, from which on it counts as set.
            detection_threshold: of the probability of a sample, from which on it counts as marked.
        """
        found, message = self(x, sample_rate)
        share = float((found[:, 1] > detection_threshold).float().mean()) if found.shape[-1] else 0.0
        return share, (message > message_threshold).int()
