"""Items of the data sets, addressed by step: the same (seed, step, row) is the same item, in any process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from audiocraft.config.data import DatasourceConfig, Split
from audiocraft.config.training import SolverConfig
from audiocraft.data.audio_dataset import AudioDataset
from audiocraft.data.manifest import load_audio_meta, manifest_file
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.solvers.random_streams import generator
from audiocraft.types import SegmentInfo

logger = logging.getLogger(__name__)

DatasetT = TypeVar("DatasetT", bound=AudioDataset)
# Which random decision a generator is for; training and validation never share one.
TRAIN, VALID = 1, 2
# A file this much shorter than it has to be is filled with silence instead of left out.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Draw:
    """A draw is item `index` of `epoch`, of one of the sources, and where its random choices come from."""

    source: int
    index: int
    epoch: int
    random: np.random.Generator

    def item(self, dataset: AudioDataset) -> tuple[Tensor, SegmentInfo]:
        """Read wav [C, N] of the item and what it is."""
        return dataset.item(self.index, epoch=self.epoch, uniform=self.random.random)

    def place(self, dataset: AudioDataset) -> tuple[int, float]:
        """Return which file of the data set the item comes from, and from which second on."""
        return dataset.place(self.index, self.epoch, self.random.random)


class StepSampler:
    """A sampler says which items the rows of a step are, for one split of a configuration.

    Args:
        duration: seconds of an item, where they are not the split's.
    """

    def __init__(
        self,
        config: SolverConfig,
        split: Split,
        *,
        rank: int = 0,
        world_size: int = 1,
        duration: float | None = None,
    ) -> None:
        _check_source(config)
        settings = config.dataset.split(split)
        seconds = settings.segment_duration if duration is None else duration
        if seconds is None:
            raise ConfigError("dataset.segment_duration must say how long a training crop is")
        self.config, self.split, self.settings = config, split, settings
        self.duration, self.rank, self.world_size = seconds, rank, world_size
        self.batch_size = config.rows_per_step if split == "train" else config.dataset.batch_of(split)
        self.num_samples = settings.num_samples or self.batch_size
        self.training = split == "train"
        # Validation is the same whatever the run's seed, so that runs compare.
        self.seed = config.seed * 1_000_003 + settings.shuffle_seed if self.training else 0
        folders, shares = _sources(config.datasource, split)
        self.folders, self._cumulative = folders, np.cumsum(shares)

    @property
    def epoch_size(self) -> int:
        """Return the number of items of an epoch, of all ranks together."""
        if not self.training:
            return self.num_samples
        return self.config.updates_per_epoch * self.batch_size * self.world_size

    def datasets(self, kind: type[DatasetT], **options: Any) -> list[DatasetT]:
        """Return the data set of each source; `options` are those that only this kind has."""
        return [self._dataset(kind, folder, options) for folder in self.folders]

    def draw(self, step: int, row: int) -> Draw:
        """Return what row `row` of step `step` on this rank is."""
        position = (step * self.world_size + self.rank) * self.batch_size + row
        epoch, index = divmod(position, self.epoch_size)
        if not self.training:
            return self.fixed(index)
        if not self.settings.shuffle:
            return self._draw(generator(0, 0, index, TRAIN), index, 0)
        random = generator(self.seed, step, self.rank * self.batch_size + row, TRAIN)
        return self._draw(random, index, epoch)

    def fixed(self, index: int) -> Draw:
        """Return item `index` of a split that is the same in every pass."""
        return self._draw(generator(0, 0, index, VALID), index, 0)

    def _draw(self, random: np.random.Generator, index: int, epoch: int) -> Draw:
        number = int(np.searchsorted(self._cumulative, random.random(), side="right"))
        return Draw(min(number, len(self.folders) - 1), index, epoch, random)

    def _dataset(self, kind: type[DatasetT], folder: Path, options: dict[str, Any]) -> DatasetT:
        dataset = self.config.dataset
        least = self.duration * dataset.min_segment_ratio * (1 - _TOLERANCE)
        metas = load_audio_meta(manifest_file(folder))
        if metas and not any(meta.duration >= least for meta in metas):
            raise ConfigError(f"{folder} lists no file of {least:.3g} s or more")
        try:
            made = kind(
                metas,
                segment_duration=self.duration,
                shuffle=self.settings.shuffle or False,
                num_samples=self.epoch_size,
                sample_rate=self.config.sample_rate,
                channels=self.config.channels,
                sample_on_duration=dataset.sample_on_duration,
                sample_on_weight=dataset.sample_on_weight,
                min_segment_ratio=dataset.min_segment_ratio,
                min_audio_duration=least,
                shuffle_seed=self.seed,
                permutation_on_files=self.settings.permutation_on_files,
                return_info=self.settings.return_info or False,
                **options,
            )
        except InvalidInput as error:
            raise ConfigError(f"{folder}: {error}") from error
        if len(made.meta) < len(metas):
            left_out = len(metas) - len(made.meta)
            logger.info("%s: %d of %d files are shorter than %.3g s", folder, left_out, len(metas), least)
        return made


class Crops:
    """This object makes batches of crops [B, C, N] of one split."""

    def __init__(
        self,
        config: SolverConfig,
        split: Split,
        *,
        rank: int = 0,
        world_size: int = 1,
        duration: float | None = None,
    ) -> None:
        self.sampler = StepSampler(config, split, rank=rank, world_size=world_size, duration=duration)
        self.sources = self.sampler.datasets(AudioDataset)
        self.duration, self.batch_size = self.sampler.duration, self.sampler.batch_size
        self.gain_db = config.dataset.gain_db if split == "train" else 0.0

    def batch(self, step: int) -> Tensor:
        """Return the crops of training step `step` on this rank: audio [B, C, N]."""
        return torch.stack([self._read(self.sampler.draw(step, row))[0] for row in range(self.batch_size)])

    def crop(self, step: int, row: int) -> Tensor:
        """Return one crop [C, N]."""
        return self._read(self.sampler.draw(step, row))[0]

    def fixed(self, num_workers: int = 0) -> list[tuple[Tensor, list[SegmentInfo]]]:
        """Return the batches of a validation pass, always the same, and where each row comes from; so many threads
        read."""
        draws = [self.sampler.fixed(index) for index in range(self.sampler.num_samples)]
        with ThreadPoolExecutor(max(1, num_workers), thread_name_prefix="crops") as pool:
            rows = list(pool.map(self._read, draws))
        size = self.batch_size
        parts = [rows[first : first + size] for first in range(0, len(rows), size)]
        return [(torch.stack([wav for wav, _ in part]), [info for _, info in part]) for part in parts]

    def _read(self, draw: Draw) -> tuple[Tensor, SegmentInfo]:
        wav, info = draw.item(self.sources[draw.source])
        return wav * 10 ** (-self.gain_db * draw.random.random() / 20), info


def manifest_folder(source: DatasourceConfig, path: str) -> Path:
    """Return where a source of the configuration is."""
    return Path(source.root or ".") / path


def _check_source(config: SolverConfig) -> None:
    """Refuse a source that lacks what the model asks for: it cannot learn what its recordings do not have."""
    source = config.datasource
    for name, wanted, most in (
        ("sample_rate", config.sample_rate, source.max_sample_rate),
        ("channels", config.channels, source.max_channels),
    ):
        if wanted > most:
            raise ConfigError(
                f"datasource.max_{name} is {most}: these recordings cannot teach a model with {name}={wanted}; "
                f"set {name}={most}, or another dset"
            )


def _sources(source: DatasourceConfig, split: Split) -> tuple[list[Path], Sequence[float]]:
    """Return the manifests of a split, and the share of a batch that each gets."""
    main = source.manifest(split)
    extra = [(mix.train if split == "train" else mix.valid, mix.share) for mix in source.mix]
    mixed = [(path, share) for path, share in extra if path is not None]
    if split not in ("train", "valid"):
        mixed = []
    shares = [1.0 - sum(share for _, share in mixed), *(share for _, share in mixed)]
    return [manifest_folder(source, path) for path in (main, *(path for path, _ in mixed))], shares
