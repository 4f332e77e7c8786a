"""How a run that trains one network of a diffusion decoder goes. Fields mirror the YAML tree name for name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from audiocraft.config.decode import Amount, Count, encode
from audiocraft.config.diffusion import (
    BandConfig,
    DiffusionUnetConfig,
    MultiBandConfig,
    NoiseScheduleConfig,
    ProcessorConfig,
)
from audiocraft.config.optimisation import ScheduleConfig
from audiocraft.config.training import SolverConfig
from audiocraft.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionScheduleConfig(ScheduleConfig):
    """This record holds the schedule of the learning rate, and that of the noise, which share a section as in the
    original."""

    repartition: str = "power"
    beta_t0: float = 1e-5
    beta_t1: float = 2.9e-2
    beta_exp: float = 7.5
    num_steps: Count = 1000
    variance: Literal["beta", "beta_tilde"] = "beta"
    clip: float = 5.0
    rescale: float = 1.0
    n_bands: Count | None = None
    noise_scale: float = 1.0

    @property
    def noise(self) -> NoiseScheduleConfig:
        return NoiseScheduleConfig(
            beta_t0=self.beta_t0,
            beta_t1=self.beta_t1,
            beta_exp=self.beta_exp,
            num_steps=self.num_steps,
            variance=self.variance,
            clip=self.clip,
            rescale=self.rescale,
            noise_scale=self.noise_scale,
            repartition=self.repartition,
            n_bands=self.n_bands,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BandFilterConfig:
    """This record has a run train on one band of the audio alone; edges in Hz, or `n_bands` of equal width on the mel
    scale."""

    use: bool = False
    n_bands: Count = 4
    idx_band: Amount = 0
    cutoffs: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.use and self.idx_band >= self.count:
            raise ConfigError(f"idx_band is {self.idx_band}, and there are {self.count} bands; count from 0")

    @property
    def count(self) -> int:
        """Return the number of bands."""
        return self.n_bands if self.cutoffs is None else len(self.cutoffs) + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionSolverConfig(SolverConfig):
    """This record says how a network is trained that finds noise in audio, guided by what a codec hears.

    Args:
        compression_model_checkpoint: the codec, which does not learn.
        n_q: of its codebooks, how many are heard; None: all.
    """

    compression_model_checkpoint: str
    diffusion_unet: DiffusionUnetConfig = DiffusionUnetConfig()
    schedule: DiffusionScheduleConfig = DiffusionScheduleConfig()
    processor: ProcessorConfig = ProcessorConfig()
    filter: BandFilterConfig = BandFilterConfig()
    n_q: Count | None = None

    @property
    def network(self) -> MultiBandConfig:
        band = BandConfig(
            diffusion_unet=self.diffusion_unet, schedule=self.schedule.noise, processor=self.processor
        )
        return MultiBandConfig.select(
            {
                "sample_rate": self.sample_rate,
                "channels": self.channels,
                "codec": self.compression_model_checkpoint.removeprefix("//pretrained/"),
                "n_q": self.n_q,
                "bands": [encode(band)],
            }
        )
