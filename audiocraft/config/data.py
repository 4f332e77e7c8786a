"""Where training audio comes from and how it is cut. Fields mirror the YAML tree name for name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from audiocraft.config.decode import Amount, Count, Range, Share
from audiocraft.errors import ConfigError

Seconds = Annotated[float, Range(0.01, 3600)]
"""Of a segment that is trained on."""

Split = Literal["train", "valid", "evaluate", "generate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MixSourceConfig:
    """This record names a further source of which a batch takes a fixed share."""

    train: str
    share: float
    valid: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"share must lie between 0 and 1, got {self.share:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasourceConfig:
    """This record names the folders that hold a manifest, per split; relative ones start at `root`, or at the working
    folder.

    Args:
        max_sample_rate, max_channels: what the recordings have: no model of more can learn from them.
    """

    max_sample_rate: Count
    max_channels: Count
    train: str
    valid: str
    root: str | None = None
    evaluate: str | None = None
    generate: str | None = None
    mix: tuple[MixSourceConfig, ...] = ()

    def manifest(self, name: Split) -> str:
        """Return the folder of a split's manifest."""
        folders = {
            "train": self.train, "valid": self.valid, "evaluate": self.evaluate, "generate": self.generate,
        }  # fmt: skip
        folder = folders[name]
        if folder is None:
            raise ConfigError(f"datasource.{name}: no manifest given")
        return folder

    def __post_init__(self) -> None:
        if sum(source.share for source in self.mix) >= 1:
            raise ConfigError(
                "the shares of `mix` add up to 1 or more, so nothing is left for the main source"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """This record says what one split overrides of the dataset's settings, None inherits; and how the texts of its
    items are made.

    Args:
        shuffle: other items in every epoch; otherwise each epoch has the same.
        permutation_on_files: go through all files in random order instead of drawing them.
        merge_text_p: how often the other fields of a file (key, tempo, genre ...) are appended to its description.
        drop_desc_p, drop_other_p: how often the description, and each other field, is then left out.
        caption_p: how often one of a file's `captions` takes the description's place.
        paraphrase_source: a JSON file of other wordings, which are used with the probability `paraphrase_p`.
        absence_p: how often a model that is told who plays when is also told who does not play at all.
    """

    num_samples: Count | None = None
    batch_size: Count | None = None
    segment_duration: Seconds | None = None
    return_info: bool | None = None
    shuffle: bool | None = None
    shuffle_seed: int = 0
    permutation_on_files: bool = False
    merge_text_p: Share = 0.0
    drop_desc_p: Share = 0.0
    drop_other_p: Share = 0.0
    caption_p: Share = 1.0
    paraphrase_source: str | None = None
    paraphrase_p: Share = 0.0
    absence_p: Share = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetConfig:
    """This record says how batches are cut out of the sources.

    Args:
        num_workers: threads that prepare batches ahead of the training step; 0 prepares each when it is needed.
        return_info: what is known about a file goes with its audio: language models are told it, and a codec's
            samples say where they come from.
        sample_on_duration, sample_on_weight: draw files in proportion to their duration, to the manifest's weight.
        min_segment_ratio: least part of a segment that must lie inside its file.
        gain_db: in training each crop is made quieter by up to this much.
    """

    batch_size: Count
    num_workers: Amount = 1
    segment_duration: Seconds | None = None
    num_samples: Count | None = None
    return_info: bool = False
    shuffle: bool = False
    sample_on_duration: bool = True
    sample_on_weight: bool = True
    min_segment_ratio: Annotated[float, Range(1e-3, 1)] = 0.5
    gain_db: Annotated[float, Range(0)] = 0.0
    train: SplitConfig = SplitConfig()
    valid: SplitConfig = SplitConfig()
    evaluate: SplitConfig = SplitConfig()
    generate: SplitConfig = SplitConfig()

    def batch_of(self, name: Split) -> int:
        """Return how many items a batch of this split has."""
        return self.split(name).batch_size or self.batch_size

    def split(self, name: Split) -> SplitConfig:
        """Return the split's settings with every inherited value filled in."""
        own: SplitConfig = {
            "train": self.train,
            "valid": self.valid,
            "evaluate": self.evaluate,
            "generate": self.generate,
        }[name]
        inherited = {
            "num_samples": self.num_samples,
            "batch_size": self.batch_size,
            "segment_duration": self.segment_duration,
            "return_info": self.return_info,
            "shuffle": self.shuffle,
        }
        return replace(own, **{key: value for key, value in inherited.items() if getattr(own, key) is None})  # type: ignore[arg-type]
