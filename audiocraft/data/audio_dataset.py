"""Segments of the audio files of a manifest, chosen at random but reproducibly.

An item is a pure function of (seed, epoch, index), and only the segment itself is decoded.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import PathLike, audio_read
from audiocraft.data.manifest import (
    DEFAULT_EXTS,
    find_audio_files,
    load_audio_meta,
    main,
    manifest_file,
    save_audio_meta,
)
from audiocraft.data.segments import (
    Uniform,
    item_generator,
    permuted_file,
    pick_file,
    pick_start,
    sampling_weights,
    uniform_of,
)
from audiocraft.errors import InvalidInput
from audiocraft.types import AudioMeta, BaseInfo, SegmentInfo

__all__ = [
    "DEFAULT_EXTS",
    "AudioDataset",
    "AudioMeta",
    "BaseInfo",
    "SegmentInfo",
    "find_audio_files",
    "load_audio_meta",
    "main",
    "save_audio_meta",
]

logger = logging.getLogger(__name__)


class AudioDataset(Dataset[Any]):
    """This data set has items wav [C, N], or (wav, SegmentInfo) with `return_info`.

    Args:
        segment_duration: seconds of an item; None gives whole files in order, one each.
        num_samples: items per epoch when segments are drawn.
        pad: fill items with zeros up to the segment's length (or, collating whole files, up to the longest).
        sample_on_duration, sample_on_weight: draw files in proportion to their duration, to the manifest's weight.
        min_segment_ratio: least part of a segment that must lie inside its file.
        max_read_retry: how many files may turn out unreadable before an item fails.
        min_audio_duration, max_audio_duration: leave out shorter and longer files.
        load_wav: off gives zeros instead of audio, for what needs only the information.
        permutation_on_files: go through all files in random order instead of drawing; excludes the two weightings.
    """

    def __init__(
        self,
        meta: Sequence[AudioMeta],
        segment_duration: float | None = None,
        shuffle: bool = True,
        num_samples: int = 10_000,
        sample_rate: int = 48_000,
        channels: int = 2,
        pad: bool = True,
        sample_on_duration: bool = True,
        sample_on_weight: bool = True,
        min_segment_ratio: float = 0.5,
        max_read_retry: int = 10,
        return_info: bool = False,
        min_audio_duration: float | None = None,
        max_audio_duration: float | None = None,
        shuffle_seed: int = 0,
        load_wav: bool = True,
        permutation_on_files: bool = False,
    ) -> None:
        super().__init__()
        if segment_duration is not None and segment_duration <= 0:
            raise InvalidInput(
                f"segment_duration must be positive, got {segment_duration}", field="segment_duration"
            )
        if not 0 < min_segment_ratio <= 1:
            raise InvalidInput(
                f"min_segment_ratio lies in (0, 1], got {min_segment_ratio}", field="min_segment_ratio"
            )
        if permutation_on_files and (sample_on_duration or sample_on_weight):
            raise InvalidInput(
                "permutation_on_files visits every file equally often: "
                "switch sample_on_duration and sample_on_weight off",
                field="permutation_on_files",
            )
        self.meta = _within(meta, min_audio_duration, max_audio_duration)
        if not self.meta:
            raise InvalidInput(f"no audio file is left of {len(meta)} in the manifest", field="meta")
        self.segment_duration = segment_duration
        self.shuffle = shuffle
        self.num_samples = num_samples
        self.sample_rate = sample_rate
        self.channels = channels
        self.pad = pad
        self.sample_on_duration = sample_on_duration
        self.sample_on_weight = sample_on_weight
        self.min_segment_ratio = min_segment_ratio
        self.max_read_retry = max_read_retry
        self.return_info = return_info
        self.min_audio_duration = min_audio_duration
        self.max_audio_duration = max_audio_duration
        self.shuffle_seed = shuffle_seed
        self.load_wav = load_wav
        self.permutation_on_files = permutation_on_files
        self.current_epoch = 0
        self.unreadable: dict[str, str] = {}
        self._cumulative = self._weigh()

    def _weigh(self) -> Tensor:
        """Return the cumulative probabilities [files] of the files."""
        weights = sampling_weights(
            self.meta, on_weight=self.sample_on_weight, on_duration=self.sample_on_duration
        )
        return weights.cumsum(0)

    def select(self, numbers: Sequence[int]) -> Self:
        """Return this data set with only some of its files."""
        other = copy.copy(self)
        other.meta = [self.meta[number] for number in numbers]
        if not other.meta:
            raise InvalidInput(f"none of {len(self.meta)} files can be used", field="meta")
        other._cumulative = other._weigh()
        return other

    def start_epoch(self, epoch: int) -> None:
        """Choose which epoch's items `dataset[index]` gives."""
        self.current_epoch = epoch

    def __len__(self) -> int:
        return len(self.meta) if self.segment_duration is None else self.num_samples

    @property
    def in_order(self) -> bool:
        """Return whether item `index` is simply file `index`, from the first again after the last."""
        drawn = self.shuffle or self.sample_on_duration or self.sample_on_weight
        return not (drawn or self.permutation_on_files)

    def file_number(self, index: int, epoch: int, uniform: Uniform) -> int:
        """Return which file of `meta` an item of an epoch comes from."""
        if self.permutation_on_files:
            return permuted_file(index, epoch, len(self.meta), self.num_samples, self.shuffle_seed)
        if self.in_order:
            return index % len(self.meta)
        return pick_file(self._cumulative, uniform)

    def sample_file(self, index: int, rng: torch.Generator) -> AudioMeta:
        """Return the file that item `index` of the current epoch comes from."""
        return self.meta[self.file_number(index, self.current_epoch, uniform_of(rng))]

    def place(self, index: int, epoch: int, uniform: Uniform) -> tuple[int, float]:
        """Return which file of `meta`, and at which second of it the segment starts."""
        number = self.file_number(index, epoch, uniform)
        if self.segment_duration is None:
            return number, 0.0
        duration = self.meta[number].duration
        return number, pick_start(duration, self.segment_duration, self.min_segment_ratio, uniform)

    def segment(self, number: int, start: float, duration: float) -> tuple[Tensor, SegmentInfo]:
        """Read wav [C, N] of some seconds of file `number` of `meta`, and what it is."""
        return self._read(self.meta[number], start, duration)

    def _rng(self, index: int) -> torch.Generator:
        return item_generator(index, self.current_epoch, self.num_samples, self.shuffle_seed, self.shuffle)

    def __getitem__(self, index: int) -> Any:
        wav, info = self.item(index)
        return (wav, info) if self.return_info else wav

    def item(
        self, index: int, *, epoch: int | None = None, uniform: Uniform | None = None
    ) -> tuple[Tensor, SegmentInfo]:
        """Read wav [C, N] of item `index` and what it is.

        Args:
            epoch: whose item; None is the current one.
            uniform: where the random choices come from; None: from the seed, the epoch and the index.
        """
        if epoch is None and not 0 <= index < len(self):
            raise IndexError(f"item {index} of a data set with {len(self)}")
        if self.segment_duration is None:
            return self._read(self.meta[index % len(self.meta)], 0.0, None)
        draw = uniform or uniform_of(self._rng(index))
        attempts = max(1, self.max_read_retry)
        for attempt in range(attempts):
            number, start = self.place(index, self.current_epoch if epoch is None else epoch, draw)
            try:
                return self._read(self.meta[number], start, self.segment_duration)
            except InvalidInput as error:
                # One damaged file in a million must not end a training run; ten in a row mean a wrong manifest.
                if attempt == attempts - 1:
                    raise
                self._note(self.meta[number].path, str(error))
                index += 1
        raise AssertionError("unreachable")

    def _note(self, path: str, reason: str) -> None:
        """Say once per file that another one is taken instead."""
        if path not in self.unreadable:
            self.unreadable[path] = reason
            logger.warning("another file is taken: %s", reason)

    def _read(self, meta: AudioMeta, start: float, duration: float | None) -> tuple[Tensor, SegmentInfo]:
        if self.load_wav:
            wav, rate = audio_read(meta.path, start, -1 if duration is None else duration)
            if not wav.numel():
                raise InvalidInput(f"{meta.path} has no audio at {start:.2f} s", field="meta")
            if not torch.isfinite(wav).all():
                raise InvalidInput(f"{meta.path} holds samples that are not numbers", field="meta")
            wav = convert_audio(wav, rate, self.sample_rate, self.channels)
        else:
            heard = meta.duration - start if duration is None else min(duration, meta.duration - start)
            wav = torch.zeros(self.channels, int(heard * self.sample_rate))
        n_frames = total = wav.shape[-1]
        if duration is not None:
            total = round(duration * self.sample_rate)
            # Resampling may round to one sample more than the segment has.
            wav, n_frames = wav[..., :total], min(n_frames, total)
            if self.pad:
                wav = F.pad(wav, (0, total - n_frames))
        return wav, SegmentInfo(meta, start, n_frames, total, self.sample_rate, self.channels)

    def collater(self, samples: Sequence[Any]) -> Any:
        """Turn items into wav [B, C, N], or (wav, list of infos)."""
        wavs = [sample[0] for sample in samples] if self.return_info else list(samples)
        longest = max(wav.shape[-1] for wav in wavs)
        if any(wav.shape[-1] != longest for wav in wavs):
            if not self.pad:
                raise InvalidInput(
                    "items differ in length and `pad` is off: batch them one by one", field="pad"
                )
            wavs = [F.pad(wav, (0, longest - wav.shape[-1])) for wav in wavs]
        batch = torch.stack(wavs)
        if not self.return_info:
            return batch
        infos = [sample[1] for sample in samples]
        for info in infos:
            info.total_frames = max(info.total_frames, longest)
        return batch, infos

    @classmethod
    def from_meta(cls, root: PathLike, **kwargs: Any) -> Self:
        """Return the data set of a manifest, named by itself or by its folder."""
        return cls(load_audio_meta(manifest_file(root)), **kwargs)

    @classmethod
    def from_path(
        cls, root: PathLike, minimal_meta: bool = True, exts: Sequence[str] = DEFAULT_EXTS, **kwargs: Any
    ) -> Self:
        """Return the data set of all audio below a folder; with a manifest inside it, of that."""
        folder = Path(root)
        if folder.is_file() or any((folder / name).is_file() for name in ("data.jsonl", "data.jsonl.gz")):
            return cls.from_meta(folder, **kwargs)
        return cls(find_audio_files(folder, exts, resolve=True, minimal=minimal_meta), **kwargs)


def _within(meta: Sequence[AudioMeta], shortest: float | None, longest: float | None) -> list[AudioMeta]:
    low = 0.0 if shortest is None else shortest
    high = float("inf") if longest is None else longest
    return [item for item in meta if low <= item.duration <= high]


if __name__ == "__main__":
    main()
