"""Distances of sets: equal to what others compute, unbiased, with intervals that hold, and statistics files that are
refused where they do not compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from audiocraft.errors import InvalidInput
from audiocraft.metrics.embeddings import Embeddings
from audiocraft.metrics.frechet import extrapolated, frechet, frechet_distance, measured_frechet
from audiocraft.metrics.kad import SCALE, kad, measured_kad, median_distance
from audiocraft.metrics.measured import measured_mean, measured_share

DIMENSION = 8


def vectors(
    random: np.random.Generator, recordings: int, *, shift: float = 0.0, windows: int = 3, digest: str = "one"
) -> Embeddings:
    """Recordings whose windows are alike: half of the spread is between recordings."""
    own = random.standard_normal((recordings, 1, DIMENSION)) + random.standard_normal(
        (recordings, windows, DIMENSION)
    )
    counts = np.full(recordings, windows, np.int64)
    return Embeddings(own.reshape(-1, DIMENSION) + shift, counts, "toy", digest)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


def test_the_frechet_distance_equals_an_independent_one(random: np.random.Generator) -> None:
    """The definition with a general matrix root, as scipy computes it."""
    ours, theirs = vectors(random, 30), vectors(random, 40, shift=0.3)
    means = ours.vectors.mean(0) - theirs.vectors.mean(0)
    first, second = np.cov(ours.vectors.T), np.cov(theirs.vectors.T)
    root = scipy.linalg.sqrtm(first @ second)
    expected = means @ means + np.trace(first + second - 2 * np.real(root))
    assert frechet(ours, theirs) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_frechet_distance_of_normal_distributions_is_the_closed_form() -> None:
    """Diagonal covariances, one of them singular: the sum over axes of the squared difference of deviations."""
    first, second = np.diag([4.0, 1.0, 0.0]), np.diag([1.0, 1.0, 9.0])
    found = frechet_distance(np.zeros(3), first, np.ones(3), second)
    assert found == pytest.approx(3 + 1 + 0 + 9, abs=1e-9)


def test_a_set_is_at_no_distance_from_itself_and_never_below(random: np.random.Generator) -> None:
    """Fewer windows than dimensions: the covariance is singular, and rounding must not make a distance negative."""
    few = vectors(random, 2)
    assert 0 <= frechet(few, few) < 1e-9


def test_a_kernel_distance_is_the_mean_of_its_definition(random: np.random.Generator) -> None:
    ours, theirs = vectors(random, 4, windows=1), vectors(random, 5, windows=1, shift=0.5)
    width = median_distance(theirs)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-np.square(a - b).sum() / (2 * width**2)))

    def among(part: Embeddings) -> float:
        pairs = [(i, j) for i in range(len(part)) for j in range(len(part)) if i != j]
        return float(np.mean([kernel(part.vectors[i], part.vectors[j]) for i, j in pairs]))

    across = np.mean([kernel(a, b) for a in ours.vectors for b in theirs.vectors])
    assert kad(ours, theirs) == pytest.approx(SCALE * (among(ours) + among(theirs) - 2 * across))


def test_a_kernel_distance_of_equal_kinds_is_zero_on_average(random: np.random.Generator) -> None:
    """Windows of one recording are alike, which a mean over all windows would take for a distance."""
    found = [kad(vectors(random, 6), vectors(random, 6)) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_unequal_numbers_of_windows_are_averaged_by_recording(random: np.random.Generator) -> None:
    even = vectors(random, 5)
    counts = np.array([1, 3, 3, 3, 3], np.int64)
    uneven = Embeddings(np.concatenate([even.vectors[:1], even.vectors[3:]]), counts, "toy", "one")
    other = vectors(random, 5)
    assert np.isfinite(kad(uneven, other))
    assert kad(uneven, other) != kad(even, other)


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_intervals_cover_a_repetition(random: np.random.Generator, shift: float) -> None:
    covered = 0
    for _ in range(60):
        first, second = ((vectors(random, 16, shift=shift), vectors(random, 16)) for _ in range(2))
        covered += measured_kad(*first, bandwidth=4.0).covers(kad(*second))
    assert covered >= 52


def test_frechet_intervals_cover_a_repetition(random: np.random.Generator) -> None:
    covered = 0
    for _ in range(25):
        first, second = ((vectors(random, 20, shift=0.5), vectors(random, 20)) for _ in range(2))
        covered += measured_frechet(*first, bootstraps=40).covers(frechet(*second))
    assert covered >= 21


def test_an_extrapolation_is_below_the_distance_of_a_small_set(random: np.random.Generator) -> None:
    """Both sets are of one kind, at no distance; the finite ones are at one."""
    ours, theirs = vectors(random, 30), vectors(random, 2000)
    found = extrapolated(ours, theirs)
    assert abs(found.value) < 0.5 * frechet(ours, theirs)
    assert found.fit > 0.5


def test_statistics_are_read_as_written_and_refused_for_another_embedder(
    random: np.random.Generator, tmp_path: Path
) -> None:
    ours = vectors(random, 4)
    path = ours.save(tmp_path / "reference.safetensors")
    again = Embeddings.load(path)
    assert np.allclose(again.vectors, ours.vectors, atol=1e-6)
    assert again.counts.tolist() == ours.counts.tolist()
    with pytest.raises(InvalidInput, match=r"of the embedder toy \(two\), not of toy \(one\)"):
        frechet(ours, vectors(random, 4, digest="two"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidInput, match="cannot be read as statistics"):
        Embeddings.load(path)


def test_two_runs_agree(random: np.random.Generator) -> None:
    ours, theirs = vectors(random, 12), vectors(random, 12)
    assert measured_frechet(ours, theirs) == measured_frechet(ours, theirs)
    assert extrapolated(ours, theirs) == extrapolated(ours, theirs)


def test_one_recording_is_too_few(random: np.random.Generator) -> None:
    with pytest.raises(InvalidInput, match="generated has 1"):
        kad(vectors(random, 1), vectors(random, 5))
    with pytest.raises(InvalidInput, match="needs 10 recordings"):
        extrapolated(vectors(random, 5), vectors(random, 5))
    with pytest.raises(InvalidInput, match="at least one recording"):
        Embeddings.join([], embedder=None)  # type: ignore[arg-type]


def test_shares_and_means_know_how_far_they_move() -> None:
    assert measured_share(5, 10).covers(0.5)
    assert measured_share(0, 10).low == 0
    assert not measured_mean([1.0, 1.1, 0.9, 1.0]).covers(2.0)
    assert measured_mean([1.0]).covers(100.0)
    assert torch.isfinite(torch.tensor(measured_mean([1.0, 2.0]).reach))
