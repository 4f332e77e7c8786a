"""The Fréchet audio distance of two sets of recordings (Kilgour et al., arXiv 1812.08466), in float64 throughout.

A distance of a finite set is too large; `extrapolated` says what it would be for one without end (Gui et al.,
"Adapting Frechet Audio Distance for Generative Music Evaluation", arXiv 2311.01616). Compare only what has the same
embedder and about the same size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocraft.errors import InvalidInput
from audiocraft.metrics.embeddings import Embeddings, Vectors
from audiocraft.metrics.measured import Measured

_BOOTSTRAPS = 100
_SIZES, _SMALLEST = 10, 0.3  # sizes that a line is fitted through, and the smallest, as a share of the set


def frechet_distance(
    mean: Vectors, covariance: Vectors, other_mean: Vectors, other_covariance: Vectors
) -> float:
    """Return the squared Fréchet distance of two normal distributions with means [D] and covariances [D, D], 0 or more.

    The trace of the root of the product is the sum of the singular values of the product of the roots, so that nothing
    becomes complex, nothing depends on a general matrix root, and no rounding grows by a root: sets of fewer windows
    than dimensions have covariances that are almost singular.
    """
    cross = np.linalg.svd(_root(covariance) @ _root(other_covariance), compute_uv=False).sum()
    apart = np.square(mean - other_mean).sum()
    return max(0.0, float(apart + np.trace(covariance) + np.trace(other_covariance) - 2 * cross))


def _root(covariance: Vectors) -> Vectors:
    """Return the symmetric root of a covariance. What rounding alone can have put into a direction is none."""
    values, vectors = np.linalg.eigh(covariance)
    noise = len(values) * np.finfo(np.float64).eps * np.abs(values).max()
    return np.asarray((vectors * np.sqrt(np.where(values > noise, values, 0.0))) @ vectors.T)


def frechet(generated: Embeddings, reference: Embeddings) -> float:
    """Compute the distance of two sets.

    Raises:
        InvalidInput: of different embedders, or a set of one window.
    """
    generated.check_comparable(reference)
    return frechet_distance(generated.mean, generated.covariance, reference.mean, reference.covariance)


def measured_frechet(
    generated: Embeddings, reference: Embeddings, *, seed: int = 0, bootstraps: int = _BOOTSTRAPS
) -> Measured:
    """Return the distance with its interval, from the spread of distances of recordings drawn with replacement.
    Their own mean is too large, since repeated recordings make a set smaller, and is not used."""
    value = frechet(generated, reference)
    if len(generated) < 2:
        return Measured(value, -np.inf, np.inf)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(bootstraps):
        ours, theirs = (part.chosen(_again(random, len(part))) for part in (generated, reference))
        drawn.append(frechet(ours, theirs))
    return Measured.around(value, float(np.std(drawn, ddof=1)))


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """This record says what a distance would be for a set without end; `fit` is the R² of the line through smaller
    sets, whose distances fall with one over their size."""

    value: float
    fit: float


def extrapolated(generated: Embeddings, reference: Embeddings, *, seed: int = 0) -> Extrapolation:
    """Compute FAD-infinity: the distances of smaller sets of the generated recordings, against the same reference.

    Raises:
        InvalidInput: fewer than ten recordings.
    """
    if len(generated) < _SIZES:
        raise InvalidInput(f"an extrapolation needs {_SIZES} recordings or more, got {len(generated)}")
    random = np.random.default_rng(seed)
    inverse, values = [], []
    for share in np.linspace(_SMALLEST, 1.0, _SIZES):
        for _ in range(3 if share < 1 else 1):
            count = max(2, round(share * len(generated)))
            part = generated.chosen(random.permutation(len(generated))[:count])
            inverse.append(1 / part.windows)
            values.append(frechet(part, reference))
    slope, limit = np.polyfit(inverse, values, 1)
    residual = np.square(np.polyval([slope, limit], inverse) - values).sum()
    spread = np.square(np.array(values) - np.mean(values)).sum()
    return Extrapolation(float(limit), float(1 - residual / max(spread, 1e-12)))


def _again(random: np.random.Generator, count: int) -> NDArray[np.int64]:
    return random.integers(count, size=count)
