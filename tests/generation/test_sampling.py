"""Codes drawn from logits: the right distribution, the right support, and rows that do not hear each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling, WindowSettings, window_of
from audiocraft.generation.sampling import keep_top_k, keep_top_p, sample


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_greedy_takes_the_likeliest(generator: torch.Generator) -> None:
    logits = torch.randn(3, 4, 50, generator=generator)
    for sampling in (Sampling(use_sampling=False), Sampling(temperature=0.0), Sampling(top_k=1)):
        assert torch.equal(sample(logits, sampling, generators(1, 2, 3)), logits.argmax(-1))


def test_frequencies_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.25, 0.2, 0.05])
    logits = probabilities.log().expand(1, 20000, 4)
    drawn = sample(logits, Sampling(top_k=0), generators(3))
    frequencies = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    assert torch.allclose(frequencies, probabilities, atol=0.015)


def test_temperature_sharpens_and_flattens() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0]).expand(1, 4000, 3)
    shares = [
        (sample(logits, Sampling(top_k=0, temperature=t), generators(1)) == 0).float().mean()
        for t in (0.3, 1.0, 5.0)
    ]
    assert shares[0] > shares[1] > shares[2]


@given(st.integers(1, 60), st.integers(0, 10_000))
def test_top_k_keeps_k(k: int, seed: int) -> None:
    probabilities = torch.rand(2, 3, 40, generator=torch.Generator().manual_seed(seed)) + 1e-3
    kept = keep_top_k(probabilities, k)
    assert ((kept > 0).sum(-1) == min(k, 40)).all()
    assert torch.equal(kept.amax(-1), probabilities.amax(-1))


@given(st.floats(0.01, 1.0), st.integers(0, 10_000))
def test_top_p_keeps_the_fewest_that_reach_p(p: float, seed: int) -> None:
    logits = 3 * torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(seed))
    probabilities = torch.softmax(logits, -1)
    kept = keep_top_p(probabilities, p)
    assert (kept.sum(-1) >= min(p, 1.0) - 1e-5).all()
    smallest = kept.masked_fill(kept == 0, 2.0).amin(-1)
    assert (kept.sum(-1) - smallest <= p + 1e-5).all()


def test_a_row_does_not_depend_on_its_neighbours(generator: torch.Generator) -> None:
    """One shared generator would give row 1 other noise in another batch."""
    logits = torch.randn(4, 4, 64, generator=generator)
    together = sample(logits, Sampling(), generators(1, 2, 3, 4))
    for row in range(4):
        assert torch.equal(
            sample(logits[row : row + 1], Sampling(), generators(row + 1)), together[row : row + 1]
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": -1},
        {"top_k": 2.5},
        {"top_p": 1.5},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": "1"},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Sampling(**settings)


def test_what_is_no_number_is_named() -> None:
    for wrong in (
        lambda: GenerationRequest(prompts=("x",), duration="8"),  # type: ignore[arg-type]
        lambda: GenerationRequest(prompts=("x",), seeds=(1.5,)),  # type: ignore[arg-type]
        lambda: Guidance(coef="3"),  # type: ignore[arg-type]
        lambda: WindowSettings(stride=True),
        lambda: window_of("8", 18, 30.0, 18),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidInput, match="must be a"):
            wrong()
    assert GenerationRequest(prompts=("x",), duration=np.float32(8), seeds=(np.int64(3),)).duration == 8
