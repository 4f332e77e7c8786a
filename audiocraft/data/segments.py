"""Which file, and which part of it, item `index` of an epoch is.

Pure functions of a seed, so that any item can be had again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch

from audiocraft.errors import InvalidInput
from audiocraft.types import AudioMeta

Uniform = Callable[[], float]
"""A source of random numbers in [0, 1): whoever asks for an item decides where they come from."""


def item_generator(index: int, epoch: int, num_samples: int, seed: int, shuffle: bool) -> torch.Generator:
    """Return the source of all choices for one item. Without shuffling it is the same in every epoch and for every
    seed."""
    # Hashed, because sums of small numbers would give seed 1 the items of seed 0, moved by one.
    name = f"{seed}/{index + num_samples * epoch}" if shuffle else f"{index}"
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")
    return torch.Generator().manual_seed(number)


def uniform_of(generator: torch.Generator) -> Uniform:
    """Return the numbers of a torch generator."""
    return lambda: float(torch.rand((), generator=generator, dtype=torch.float64))


def sampling_weights(meta: Sequence[AudioMeta], *, on_weight: bool, on_duration: bool) -> torch.Tensor:
    """Return how likely each file is, as probabilities [files], float64."""
    weights = torch.ones(len(meta), dtype=torch.float64)
    if on_weight:
        weights *= torch.tensor([1.0 if m.weight is None else m.weight for m in meta], dtype=torch.float64)
    if on_duration:
        weights *= torch.tensor([m.duration for m in meta], dtype=torch.float64)
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise InvalidInput("weights and durations must be zero or more, and not all zero", field="meta")
    return weights / weights.sum()


def pick_file(cumulative: torch.Tensor, uniform: Uniform) -> int:
    """Draw a file by inverting the cumulative probabilities [files]: logarithmic in the number of files."""
    draw = uniform() * cumulative[-1]
    return min(int(torch.searchsorted(cumulative, draw, right=True)), len(cumulative) - 1)


def permuted_file(index: int, epoch: int, num_files: int, num_samples: int, seed: int) -> int:
    """Walk through all files in a random order before any comes again, across epochs."""
    total = index + num_samples * epoch
    order = torch.randperm(num_files, generator=torch.Generator().manual_seed(seed + total // num_files))
    return int(order[total % num_files])


def pick_start(duration: float, segment_duration: float, min_segment_ratio: float, uniform: Uniform) -> float:
    """Return where a segment starts, in seconds: at least `min_segment_ratio` of it lies inside the file."""
    return uniform() * max(0.0, duration - segment_duration * min_segment_ratio)
