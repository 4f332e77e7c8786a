"""Codebooks: the nearest code is found, means are learnt, dead codes come back to life, and a seed decides it all."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.quantization.core_vq import (
    EuclideanCodebook,
    ResidualVectorQuantization,
    VectorQuantization,
    kmeans,
    laplace_smoothing,
    nearest,
    orthogonal_loss_fn,
    sample_vectors,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 100), rows=st.integers(1, 30), size=st.integers(1, 20))
def test_nearest_is_the_nearest(seed: int, rows: int, size: int) -> None:
    x, codebook = noise(rows, 4, seed=seed), noise(size, 4, seed=seed + 1)
    assert torch.equal(nearest(x, codebook), torch.cdist(x.double(), codebook.double()).argmin(dim=-1))


def test_nearest_of_many_rows_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, codebook = noise(100, 4), noise(9, 4, seed=1)
    whole = nearest(x, codebook)
    monkeypatch.setattr("audiocraft.quantization.core_vq._ROWS_AT_ONCE", 7)
    assert torch.equal(nearest(x, codebook), whole)


def test_kmeans_finds_separated_clusters(generator: torch.Generator) -> None:
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    points = (centres[:, None] + noise(3, 50, 2) * 0.1).reshape(-1, 2)
    means, counts = kmeans(points, 3, 20, generator=torch.Generator().manual_seed(5))
    assert counts.sum() == 150
    moved = torch.cdist(means, centres).min(dim=1).values
    assert moved[counts > 0].max() < 11  # every mean is inside the data
    assert torch.equal(means, kmeans(points, 3, 20, generator=torch.Generator().manual_seed(5))[0])


def test_samples_are_distinct_where_there_are_enough(generator: torch.Generator) -> None:
    rows = torch.arange(10.0)[:, None]
    assert len(set(sample_vectors(rows, 10, generator=generator).flatten().tolist())) == 10
    assert sample_vectors(rows, 25, generator=generator).shape == (25, 1)


def test_smoothing_and_orthogonality() -> None:
    assert laplace_smoothing(torch.tensor([3.0, 0, 1]), 3).sum().item() == pytest.approx(1.0)
    assert orthogonal_loss_fn(torch.eye(4)).item() == pytest.approx(0.0)
    assert orthogonal_loss_fn(torch.ones(4, 4)).item() == pytest.approx(12 / 16)


def test_first_training_batch_initialises_and_evaluation_never_learns() -> None:
    codebook = EuclideanCodebook(4, 8, kmeans_init=True)
    assert codebook.inited.item() == 0
    codebook.eval()(noise(2, 20, 4))
    assert codebook.inited.item() == 0
    codebook.train()(noise(2, 20, 4), generator=torch.Generator().manual_seed(1))
    assert codebook.inited.item() == 1
    frozen = copy.deepcopy(codebook.eval().state_dict())
    codebook(noise(2, 20, 4, seed=9))
    assert all(torch.equal(value, frozen[key]) for key, value in codebook.state_dict().items())


def test_codes_keep_their_length_after_initialisation() -> None:
    """A moving sum that starts at one mean instead of count * mean shrinks every code at the first step."""
    data = noise(1, 400, 4) + 5
    codebook = EuclideanCodebook(4, 8, kmeans_init=True, decay=0.99, threshold_ema_dead_code=0).train()
    for _ in range(3):
        codebook(data, generator=torch.Generator().manual_seed(1))
    assert (codebook.embed.mean(dim=0) - 5).abs().max() < 1


def test_dead_codes_come_back_and_stay() -> None:
    """Replacing only the code, not its moving averages, undid the replacement within the same step."""
    codebook = EuclideanCodebook(2, 16, decay=0.9).train()
    codebook.embed.fill_(100.0)
    codebook.embed[0] = 0.0
    codebook.embed_avg.copy_(codebook.embed)
    codebook.cluster_size.fill_(0.0)
    codebook.cluster_size[0] = 16.0
    source = torch.Generator().manual_seed(3)
    for step in range(5):
        codebook(noise(4, 16, 2, seed=step), generator=source)
    _, chosen = codebook.eval()(noise(4, 16, 2, seed=99))
    assert len(chosen.unique()) >= 8


def test_more_codes_than_frames_does_not_shuffle_the_codebook_at_every_step() -> None:
    """64 frames for 256 codes: an average code is used 0.25 times a step, below the usual threshold of 2."""
    codebook = EuclideanCodebook(4, 256, kmeans_init=True, decay=0.99).train()
    source = torch.Generator().manual_seed(0)
    for step in range(4):
        codebook(noise(4, 16, 4, seed=step), generator=source)
    before = codebook.embed.clone()
    codebook(noise(4, 16, 4, seed=5), generator=source)
    kept = ((codebook.embed - before).norm(dim=-1) < 0.2 * before.norm(dim=-1)).float().mean()
    assert kept > 0.6


@pytest.mark.parametrize("seed", [0, 1])
def test_a_generator_decides_everything(seed: int) -> None:
    def learn() -> dict[str, Tensor]:
        quantizer = ResidualVectorQuantization(
            num_quantizers=2, dim=4, codebook_size=8, kmeans_init=True
        ).train()
        source = torch.Generator().manual_seed(seed)
        for step in range(3):
            quantizer(noise(2, 4, 10, seed=step), generator=source)
        return quantizer.state_dict()

    torch.manual_seed(7)
    first = learn()
    second = learn()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_projection_keeps_the_outer_width() -> None:
    quantizer = VectorQuantization(dim=6, codebook_size=5, codebook_dim=3).eval()
    quantized, indices, _ = quantizer(noise(2, 6, 7))
    assert quantized.shape == (2, 6, 7) and indices.shape == (2, 7)
    torch.testing.assert_close(quantizer.decode(quantizer.encode(noise(2, 6, 7))), quantized)
    last = VectorQuantization(dim=6, codebook_size=5, channels_last=True).eval()
    assert last(noise(2, 7, 6))[0].shape == (2, 7, 6)


def test_gradients_pass_straight_through() -> None:
    quantizer = ResidualVectorQuantization(num_quantizers=2, dim=4, codebook_size=8).train()
    x = noise(1, 4, 10).requires_grad_()
    total, _, _ = quantizer(x)
    (gradient,) = torch.autograd.grad(total.sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))


def test_half_precision_does_not_change_the_choice() -> None:
    codebook = EuclideanCodebook(8, 64).eval()
    x = noise(500, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(
            codebook.encode(x),
            nearest(x, codebook.embed.clone()).new_tensor(torch.cdist(x, codebook.embed).argmin(-1).tolist()),
        )


def test_number_of_codebooks_is_checked() -> None:
    with pytest.raises(InvalidInput, match="1 to 2"):
        ResidualVectorQuantization(num_quantizers=2, dim=4, codebook_size=8).encode(noise(1, 4, 3), n_q=3)
    with pytest.raises(InvalidInput, match="num_quantizers"):
        ResidualVectorQuantization(num_quantizers=0, dim=4, codebook_size=8)
