"""The shape of a diffusion decoder: networks, noise schedules, and what is done to audio before and after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from audiocraft.config.decode import Amount, Count, Share, decode, kwargs_of
from audiocraft.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionUnetConfig:
    """This record says how `models.unet.DiffusionUnet` is built; see there."""

    hidden: Count = 48
    depth: Count = 4
    res_blocks: Count = 1
    norm_groups: Count = 4
    kernel: Count = 8
    stride: Count = 4
    growth: float = 4
    max_channels: Count = 10_000
    dropout: Share = 0.0
    emb_all_layers: bool = True
    bilstm: bool = False
    transformer: bool = False
    cross_attention: bool = False
    conv_blocks: Amount = 0
    frame_norm: bool = False
    codec_dim: Count | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseScheduleConfig:
    """This record says how `modules.diffusion_schedule.NoiseSchedule` is built; see there."""

    beta_t0: float = 1e-5
    beta_t1: float = 2.9e-2
    beta_exp: float = 7.5
    num_steps: Count = 1000
    variance: Literal["beta", "beta_tilde"] = "beta"
    clip: float = 5.0
    rescale: float = 1.0
    noise_scale: float = 1.0
    repartition: str = "power"
    n_bands: Count | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessorConfig:
    """This record says how `modules.diffusion_schedule.MultiBandProcessor` is built; see there."""

    name: Literal["multi_band_processor"] = "multi_band_processor"
    use: bool = False
    n_bands: Count = 8
    num_samples: Count = 10_000
    power_std: float | tuple[float, ...] = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BandConfig:
    """This record describes one network; what all of them make, added up, is the audio."""

    diffusion_unet: DiffusionUnetConfig
    schedule: NoiseScheduleConfig = NoiseScheduleConfig()
    processor: ProcessorConfig = ProcessorConfig()

    @classmethod
    def of_run(cls, tree: Mapping[str, Any]) -> BandConfig:
        """Read the configuration of a training run, whose section `schedule` also speaks of learning rates."""
        parts: dict[str, Any] = {}
        for name, kind in (("diffusion_unet", DiffusionUnetConfig), ("schedule", NoiseScheduleConfig),
                           ("processor", ProcessorConfig)):  # fmt: skip
            known = {entry.name for entry in fields(kind)}
            section = tree.get(name)
            if not isinstance(section, Mapping):
                raise ConfigError(f"the configuration of a diffusion network has no section {name!r}")
            parts[name] = decode(
                kind, {key: value for key, value in section.items() if key in known}, where=name
            )
        return cls(**parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiBandConfig:
    """A diffusion decoder for the codes of a codec is built from this record.

    Args:
        codec: whose codes it takes, by name; "" where they lie in one folder.
        n_q: codebooks that it was trained with; None: all.
    """

    sample_rate: Count
    channels: Count = 1
    codec: str = ""
    n_q: Count | None = None
    bands: tuple[BandConfig, ...] = ()

    def __post_init__(self) -> None:
        if not self.bands:
            raise ConfigError("a diffusion decoder has at least one band")

    @classmethod
    def select(cls, tree: Mapping[str, Any]) -> MultiBandConfig:
        """Read the part that shapes the networks from the configuration tree of a file."""
        known = {entry.name for entry in fields(cls)}
        return decode(cls, {key: value for key, value in tree.items() if key in known and value is not None})


def unet_arguments(config: BandConfig, channels: int) -> dict[str, Any]:
    """Return what `DiffusionUnet` is called with."""
    return {"chin": channels, "num_steps": config.schedule.num_steps, **kwargs_of(config.diffusion_unet)}
