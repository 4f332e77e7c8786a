"""Random crops of audio files, addressed by step: the same (seed, step) is the same batch, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_read
from audiocraft.config.data import DatasetConfig, DatasourceConfig, Split
from audiocraft.data.manifest import load_audio_meta, manifest_file
from audiocraft.data.segments import sampling_weights
from audiocraft.errors import ConfigError
from audiocraft.solvers.random_streams import generator
from audiocraft.types import AudioMeta

# Which random decision a generator is for; training and validation never share one.
TRAIN, VALID = 1, 2


@dataclass(frozen=True)
class Source:
    """The files of one manifest, longer ones drawn more often."""

    files: tuple[AudioMeta, ...]
    cumulative: np.ndarray

    @classmethod
    def read(cls, folder: Path, *, min_duration: float) -> Source:
        files = [meta for meta in read_manifest(folder) if meta.duration >= min_duration]
        if not files:
            raise ConfigError(f"{folder} lists no file of {min_duration:g} s or more")
        weights = sampling_weights(files, on_weight=True, on_duration=True)
        return cls(tuple(files), np.cumsum(weights.numpy()))

    def draw(self, random: np.random.Generator, duration: float) -> tuple[AudioMeta, float]:
        """A file, and where a crop of `duration` seconds starts in it."""
        index = int(np.searchsorted(self.cumulative, random.random(), side="right"))
        meta = self.files[min(index, len(self.files) - 1)]
        return meta, float(random.random() * max(0.0, meta.duration - duration))


def manifest_folder(source: DatasourceConfig, path: str) -> Path:
    """Where a source of the configuration is."""
    return Path(source.root or ".") / path


def read_manifest(folder: Path) -> list[AudioMeta]:
    """The files that the manifest in `folder` lists."""
    return load_audio_meta(manifest_file(folder))


class Crops:
    """Batches of crops [B, C, N] of one split."""

    def __init__(
        self,
        dataset: DatasetConfig,
        source: DatasourceConfig,
        split: Split,
        *,
        sample_rate: int,
        channels: int,
        seed: int,
        rank: int = 0,
    ) -> None:
        settings = dataset.split(split)
        if settings.segment_duration is None:
            raise ConfigError("dataset.segment_duration must say how long a training crop is")
        self.duration = settings.segment_duration
        self.batch_size = settings.batch_size or dataset.batch_size
        self.num_samples = settings.num_samples or self.batch_size
        self.gain_db = dataset.gain_db if split == "train" else 0.0
        self.sample_rate, self.channels, self.rank = sample_rate, channels, rank
        self.stream = TRAIN if split == "train" else VALID
        # Validation is the same whatever the run's seed, so that runs compare.
        self.seed = seed * 1_000_003 + settings.shuffle_seed if split == "train" else 0
        read = partial(Source.read, min_duration=self.duration * dataset.min_segment_ratio)
        self.sources, self.shares = _sources(source, split, read)

    def batch(self, step: int, batch_size: int | None = None) -> Tensor:
        """The crops of training step `step` on this rank: audio [B, C, N]."""
        size = batch_size or self.batch_size
        return torch.stack([self.crop(step, self.rank * size + row) for row in range(size)])

    def crop(self, step: int, row: int) -> Tensor:
        """One crop [C, N]."""
        random = generator(self.seed, step, row, self.stream)
        number = int(np.searchsorted(self.shares, random.random(), side="right"))
        meta, start = self.sources[min(number, len(self.sources) - 1)].draw(random, self.duration)
        audio, rate = audio_read(meta.path, start, self.duration, pad=True)
        audio = convert_audio(audio, rate, self.sample_rate, self.channels)
        samples = round(self.duration * self.sample_rate)
        audio = torch.nn.functional.pad(audio, (0, max(0, samples - audio.shape[-1])))[..., :samples]
        return audio * 10 ** (-self.gain_db * random.random() / 20)

    def fixed(self) -> list[Tensor]:
        """The batches of a validation pass: always the same crops."""
        rows = [self.crop(0, row) for row in range(self.num_samples)]
        size = self.batch_size
        return [torch.stack(rows[i : i + size]) for i in range(0, len(rows), size)]


def _sources(
    source: DatasourceConfig, split: Split, read: partial[Source]
) -> tuple[Sequence[Source], np.ndarray]:
    """The sources of a split and the cumulative shares of a batch that they get."""
    main = {
        "train": source.train,
        "valid": source.valid,
        "evaluate": source.evaluate,
        "generate": source.generate,
    }[split]
    if main is None:
        raise ConfigError(f"datasource.{split}: no manifest given")
    extra = [(mix.train if split == "train" else mix.valid, mix.share) for mix in source.mix]
    mixed = (
        [(path, share) for path, share in extra if path is not None] if split in ("train", "valid") else []
    )
    shares = [1.0 - sum(share for _, share in mixed), *(share for _, share in mixed)]
    paths = [main, *(path for path, _ in mixed)]
    return [read(manifest_folder(source, path)) for path in paths], np.cumsum(shares)
