"""Where training audio comes from and how it is cut. Fields mirror the YAML tree name for name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from audiocraft.config.decode import Amount, Count
from audiocraft.errors import ConfigError

Split = Literal["train", "valid", "evaluate", "generate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MixSourceConfig:
    """A further source of which a batch takes a fixed share."""

    train: str
    share: float
    valid: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"share must lie between 0 and 1, got {self.share:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasourceConfig:
    """Folders that hold a manifest, per split; relative ones start at `root`, or at the working folder."""

    max_sample_rate: int
    max_channels: int
    train: str
    valid: str
    root: str | None = None
    evaluate: str | None = None
    generate: str | None = None
    mix: tuple[MixSourceConfig, ...] = ()

    def __post_init__(self) -> None:
        if sum(source.share for source in self.mix) >= 1:
            raise ConfigError(
                "the shares of `mix` add up to 1 or more, so nothing is left for the main source"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """What one split overrides of the dataset's settings; None inherits."""

    num_samples: Count | None = None
    batch_size: Count | None = None
    segment_duration: float | None = None
    return_info: bool | None = None
    shuffle: bool | None = None
    shuffle_seed: int = 0
    permutation_on_files: bool = False
    merge_text_p: float = 0.0
    drop_desc_p: float = 0.0
    drop_other_p: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetConfig:
    """How batches are cut out of the sources."""

    batch_size: Count
    num_workers: Amount = 1
    segment_duration: float | None = None
    num_samples: Count | None = None
    return_info: bool = False
    shuffle: bool = False
    sample_on_duration: bool = True
    sample_on_weight: bool = True
    min_segment_ratio: float = 0.5
    gain_db: float = 0.0
    train: SplitConfig = SplitConfig()
    valid: SplitConfig = SplitConfig()
    evaluate: SplitConfig = SplitConfig()
    generate: SplitConfig = SplitConfig()

    def __post_init__(self) -> None:
        if self.segment_duration is not None and self.segment_duration <= 0:
            raise ConfigError(
                f"segment_duration must be a positive number of seconds, got {self.segment_duration:g}"
            )

    def split(self, name: Split) -> SplitConfig:
        """The split's settings with every inherited value filled in."""
        own: SplitConfig = {
            "train": self.train,
            "valid": self.valid,
            "evaluate": self.evaluate,
            "generate": self.generate,
        }[name]
        return replace(
            own,
            num_samples=self.num_samples if own.num_samples is None else own.num_samples,
            batch_size=self.batch_size if own.batch_size is None else own.batch_size,
            segment_duration=self.segment_duration if own.segment_duration is None else own.segment_duration,
            return_info=self.return_info if own.return_info is None else own.return_info,
            shuffle=self.shuffle if own.shuffle is None else own.shuffle,
        )
