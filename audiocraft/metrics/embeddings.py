"""A set of recordings as vectors, and its statistics file: what Fréchet and kernel distances compare.

Vectors of one recording are no independent samples, so that the set knows which belong together: intervals and unbiased
means count recordings, not windows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.utils.files import atomic_write

FORMAT = "audiocraft statistics 1"
Vectors = NDArray[np.float64]


class SoundEmbedder(Protocol):
    """This protocol describes what turns sound into vectors."""

    @property
    def name(self) -> str:
        """Return what tables call it."""
        ...

    @property
    def sample_rate(self) -> int: ...

    def digest(self) -> str:
        """Return what identifies its weights: vectors of another digest are not comparable."""
        ...

    def embed(self, wav: Tensor) -> Tensor:
        """Embed mono wav [N] at `sample_rate` as vectors [windows, dimension], of which there is at least one."""
        ...


@dataclass(frozen=True)
class Embeddings:
    """This record holds the vectors of a set of recordings.

    Args:
        vectors: [windows, dimension], those of one recording together.
        counts: [recordings], windows of each.
        embedder: the name of what made them; `digest`: of its weights.
        names: of the recordings.
    """

    vectors: Vectors
    counts: NDArray[np.int64]
    embedder: str
    digest: str
    names: tuple[str, ...] = ()

    @classmethod
    def join(cls, parts: Sequence[Tensor], embedder: SoundEmbedder, names: Sequence[str] = ()) -> Embeddings:
        """Return the set of recordings with these vectors [windows, dimension].

        Raises:
            InvalidInput: no recording.
        """
        if not parts:
            raise InvalidInput("a set needs at least one recording", field="parts")
        vectors = np.concatenate([part.double().cpu().numpy() for part in parts])
        counts = np.array([len(part) for part in parts], np.int64)
        return cls(vectors, counts, embedder.name, embedder.digest(), tuple(names))

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def windows(self) -> int:
        """Return how many vectors there are."""
        return len(self.vectors)

    @property
    def size(self) -> str:
        """Return how large it is, as tables say it."""
        return f"{len(self)} recordings, {self.windows} windows"

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Return which vector is the first of each recording, [recordings]."""
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)

    @cached_property
    def mean(self) -> Vectors:
        """Return the mean of the vectors, [dimension]."""
        return np.asarray(self.vectors.mean(0))

    @cached_property
    def covariance(self) -> Vectors:
        """Return the covariance [dimension, dimension], with one less than the windows as divisor.

        Raises:
            InvalidInput: fewer than two windows.
        """
        if self.windows < 2:
            raise InvalidInput(
                "one window has no spread: a Fréchet distance needs more recordings", field="recordings"
            )
        centred = self.vectors - self.mean
        return np.asarray(centred.T @ centred / (self.windows - 1))

    def chosen(self, places: NDArray[np.int64]) -> Embeddings:
        """Return the set of some recordings, in this order; one may come several times."""
        rows = np.concatenate([np.arange(self.starts[p], self.starts[p] + self.counts[p]) for p in places])
        return Embeddings(self.vectors[rows], self.counts[places], self.embedder, self.digest)

    def check_comparable(self, other: Embeddings) -> None:
        """Check that these vectors compare with those of `other`.

        Raises:
            InvalidInput: another embedder made the vectors of `other`.
        """
        if self.digest != other.digest:
            raise InvalidInput(
                f"these statistics are of the embedder {other.embedder} ({other.digest}), not of {self.embedder} "
                f"({self.digest}), and their vectors do not compare: measure the reference again with {self.embedder}",
                field="reference",
            )

    def save(self, path: Path) -> Path:
        """Write a statistics file (safetensors): vectors, counts, mean and covariance."""
        tensors: dict[str, NDArray[Any]] = {
            "vectors": self.vectors.astype(np.float32), "counts": self.counts, "mean": self.mean,
            "covariance": self.covariance,
        }  # fmt: skip
        about = {
            "format": FORMAT,
            "embedder": self.embedder,
            "digest": self.digest,
            "names": json.dumps(list(self.names)),
        }
        atomic_write(path, save(tensors, metadata=about))
        return path

    @classmethod
    def load(cls, path: Path) -> Embeddings:
        """Read a statistics file.

        Raises:
            InvalidInput: it is none, or is damaged.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                if about.get("format") != FORMAT:
                    raise InvalidInput(f"{path} is no statistics file of a reference", field="reference")
                vectors = file.get_tensor("vectors").astype(np.float64)
                counts = file.get_tensor("counts")
                names = tuple(json.loads(about["names"]))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"{path} cannot be read as statistics: {error}", field="reference") from error
        if counts.sum() != len(vectors) or not np.isfinite(vectors).all() or (counts < 1).any():
            raise InvalidInput(f"{path} is damaged: its vectors and counts do not fit", field="reference")
        return cls(vectors, counts, about["embedder"], about["digest"], names)
