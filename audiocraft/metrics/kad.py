"""The kernel audio distance of two sets of recordings (Chung et al., "KAD: No More FAD!", arXiv 2502.15602): the
squared maximum mean discrepancy with a Gaussian kernel, times 1000. It assumes no distribution and is unbiased, so
that small sets can be compared with large ones.

Only vectors of different recordings are compared within a set: those of one are alike whatever the sets are, which
would add a bias.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiocraft.errors import InvalidInput
from audiocraft.metrics.embeddings import Embeddings, Vectors
from audiocraft.metrics.measured import Measured

SCALE = 1000.0
_MOST = 6000  # vectors of a set that are compared; of larger ones every recording gives fewer
_BLOCK = 1024


def kad(generated: Embeddings, reference: Embeddings) -> float:
    """Return the distance; about 0, and as often below as above, for sets of the same kind.

    Raises:
        InvalidInput: of different embedders, or fewer than two recordings.
    """
    return measured_kad(generated, reference).value


def measured_kad(generated: Embeddings, reference: Embeddings, bandwidth: float | None = None) -> Measured:
    """Return the distance with its interval, by leaving out one recording after the other (jackknife).

    Args:
        bandwidth: of the kernel; None: the median distance of vectors of the reference, as in the paper.
    """
    generated.check_comparable(reference)
    for part, name in ((generated, "generated"), (reference, "reference")):
        if len(part) < 2:
            raise InvalidInput(
                f"a kernel distance needs two recordings or more on both sides; {name} has {len(part)}",
                field=name,
            )
    ours, theirs = _thinned(generated), _thinned(reference)
    width = median_distance(theirs) if bandwidth is None else bandwidth
    within, beside = _kernel(ours, ours, width), _kernel(theirs, theirs, width)
    across = _kernel(ours, theirs, width)
    for square in (within, beside):
        np.fill_diagonal(square, 0.0)
    value = _off(within.sum(), len(within)) + _off(beside.sum(), len(beside)) - 2 * across.mean()
    variance = _left_out(within, across) + _left_out(beside, across.T)
    return Measured.around(SCALE * float(value), SCALE * float(np.sqrt(variance)))


def median_distance(part: Embeddings) -> float:
    """Compute the median Euclidean distance of vectors of a set, of at most 2000 of them."""
    vectors = part.vectors[:: max(1, len(part.vectors) // 2000)]
    squares = _squares(vectors, vectors)
    middle = float(np.median(np.sqrt(squares[np.triu_indices(len(vectors), 1)])))
    return middle if middle > 0 else 1.0


def _off(total: float, count: int) -> float:
    return total / (count * (count - 1))


def _left_out(own: Vectors, across: Vectors) -> float:
    """Return the jackknife's variance of the distance over the recordings of one set: own [P, P], across [P, Q]."""
    count = len(own)
    if count < 3:
        return float("inf")
    inside = (own.sum() - 2 * own.sum(1)) / ((count - 1) * (count - 2))
    outside = (across.sum() - across.sum(1)) / ((count - 1) * across.shape[1])
    values = inside - 2 * outside
    return float((count - 1) / count * np.square(values - values.mean()).sum())


def _thinned(part: Embeddings) -> Embeddings:
    """Return the set with evenly fewer windows of each recording where there are too many to compare; of far too many
    recordings, evenly fewer."""
    if part.windows <= _MOST:
        return part
    if len(part) > _MOST:
        return _thinned(part.chosen(np.linspace(0, len(part) - 1, _MOST).round().astype(np.int64)))
    share = _MOST / part.windows
    rows, counts = [], []
    for start, count in zip(part.starts, part.counts, strict=True):
        kept = np.linspace(0, count - 1, max(1, int(share * count))).round().astype(np.int64)
        rows.append(start + kept)
        counts.append(len(kept))
    return Embeddings(
        part.vectors[np.concatenate(rows)], np.array(counts, np.int64), part.embedder, part.digest
    )


def _kernel(ours: Embeddings, theirs: Embeddings, width: float) -> Vectors:
    """Return the mean kernel of the vectors of two recordings, for all pairs [ours, theirs]."""
    summed = np.empty((len(ours), len(theirs.counts)))
    first = 0
    while first < len(ours):
        last = first + 1
        while last < len(ours) and ours.counts[first : last + 1].sum() <= _BLOCK:
            last += 1
        begin, end = ours.starts[first], ours.starts[last - 1] + ours.counts[last - 1]
        values = np.exp(-_squares(ours.vectors[begin:end], theirs.vectors) / (2 * width**2))
        by_column = np.add.reduceat(values, theirs.starts, axis=1)
        summed[first:last] = np.add.reduceat(by_column, ours.starts[first:last] - begin, axis=0)
        first = last
    return summed / ours.counts[:, None] / theirs.counts[None, :]


def _squares(ours: Vectors, theirs: Vectors) -> NDArray[np.float64]:
    """Return squared distances [ours, theirs]."""
    lengths = np.square(ours).sum(1)[:, None] + np.square(theirs).sum(1)[None, :]
    return np.asarray((lengths - 2 * ours @ theirs.T).clip(0))
