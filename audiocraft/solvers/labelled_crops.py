"""Crops of recordings with what is known about them: who plays, which sounds are heard when, style and mood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from audiocraft.config.data import Split
from audiocraft.config.training import EmbedderSolverConfig
from audiocraft.data.audio_dataset import AudioDataset
from audiocraft.data.info_audio_dataset import read_info
from audiocraft.errors import ConfigError
from audiocraft.models.encodec import CompressionModel
from audiocraft.solvers.crops import Draw, StepSampler
from audiocraft.solvers.damage import damage
from audiocraft.types import AudioMeta, SegmentInfo

WINDOWS = 2
"""Windows of a crop."""
_UNKNOWN = -1
# What a sound must last inside a window to be heard in it, in seconds.
_HEARD_S = 0.25


@dataclass(frozen=True)
class LabelledBatch:
    """This record holds crops and their labels.

    Args:
        windows: [B, WINDOWS, n].
        instruments: [B, words]; sounds: [B, WINDOWS, words]; styles, moods: [B], -1 where unknown.
        told: [B], whether it is known who plays and what is heard.
        damage: [B, kinds].
    """

    windows: Tensor
    instruments: Tensor
    sounds: Tensor
    styles: Tensor
    moods: Tensor
    told: Tensor
    damage: Tensor


@dataclass(frozen=True)
class Labels:
    """This record says what is known about one recording."""

    instruments: Tensor
    events: tuple[tuple[int, float, float], ...]
    style: int
    mood: int
    told: bool


class LabelledCrops:
    """This object makes batches of one split; the same (seed, step, row) is the same crop, in any process."""

    def __init__(
        self, config: EmbedderSolverConfig, split: Split, codec: CompressionModel | None, *, rank: int = 0,
        world_size: int = 1,
    ) -> None:  # fmt: skip
        self.config, self.codec = config, codec
        self.size = round(config.window * config.sample_rate)
        self.sampler = StepSampler(
            config, split, rank=rank, world_size=world_size, duration=WINDOWS * config.window
        )
        self.sources = self.sampler.datasets(AudioDataset)
        self.labels = lru_cache(maxsize=None)(self._labels)
        self.metas: dict[str, AudioMeta] = {}

    def batch(self, step: int) -> LabelledBatch:
        """Return the crops of a training step."""
        return self._made([self.sampler.draw(step, row) for row in range(self.sampler.batch_size)])

    def fixed(self) -> Iterator[LabelledBatch]:
        """Yield the batches of a validation pass, always the same."""
        rows = range(self.sampler.num_samples)
        for first in rows[:: self.sampler.batch_size]:
            yield self._made(
                [self.sampler.fixed(row) for row in rows[first : first + self.sampler.batch_size]]
            )

    def recordings(self) -> Iterator[tuple[Tensor, Labels]]:
        """Yield every whole recording [N] of the split with its labels, undamaged."""
        for source in self.sampler.datasets(AudioDataset):
            source.segment_duration = None
            for index in range(len(source.meta)):
                wav, info = source.item(index)
                yield wav[0], self._known(info)

    def _made(self, draws: Sequence[Draw]) -> LabelledBatch:
        rows = [self._row(draw) for draw in draws]
        return LabelledBatch(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def _row(self, draw: Draw) -> tuple[Tensor, ...]:
        wav, info = draw.item(self.sources[draw.source])
        known = self._known(info)
        heard, strengths = damage(
            wav[0], self.config.sample_rate, self.config.damage, draw.random, self.codec
        )
        starts = [info.seek_time + place * self.config.window for place in range(WINDOWS)]
        return (
            heard[: WINDOWS * self.size].unflatten(0, (WINDOWS, self.size)),
            known.instruments,
            torch.stack([self._sounds(known, start) for start in starts]),
            torch.tensor(known.style),
            torch.tensor(known.mood),
            torch.tensor(known.told),
            strengths,
        )

    def _sounds(self, known: Labels, start: float) -> Tensor:
        heard = torch.zeros(len(self.config.sounds))
        for word, first, last in known.events:
            if min(last, start + self.config.window) - max(first, start) > _HEARD_S:
                heard[word] = 1
        return heard

    def _known(self, info: SegmentInfo) -> Labels:
        self.metas[info.meta.path] = info.meta
        labels: Labels = self.labels(info.meta.path)
        return labels

    def _labels(self, path: str) -> Labels:
        told = read_info(self.metas[path])
        config = self.config
        players = told.get("instruments")
        events = told.get("events")
        instruments = torch.zeros(len(config.instruments))
        for name in players or ():
            instruments[_place(config.instruments, name, path)] = 1
        return Labels(
            instruments,
            tuple(_event(config.sounds, event, path) for event in events or ()),
            _known_place(config.styles, told.get("style")),
            _known_place(config.moods, told.get("mood")),
            players is not None or events is not None,
        )


def _event(words: Sequence[str], event: Mapping[str, Any], path: str) -> tuple[int, float, float]:
    return _place(words, event["kind"], path), float(event["start"]), float(event["end"])


def _place(words: Sequence[str], name: str, path: str) -> int:
    if name not in words:
        raise ConfigError(f"{path} names {name!r}, which is none of the words of this embedder")
    return words.index(name)


def _known_place(words: Sequence[str], name: str | None) -> int:
    return words.index(name) if name in words else _UNKNOWN
