"""The token loop on a model of a few lines: codes in their places, prompts kept, frames in order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiocraft.generation.autoregressive import decode, num_model_steps
from audiocraft.generation.guidance import GuidedBatch
from audiocraft.generation.request import Sampling
from audiocraft.generation.session import Session
from audiocraft.modules.codebooks_patterns import (
    CoarseFirstPattern,
    CodebooksPatternProvider,
    DelayedPatternProvider,
    MusicLMPattern,
    ParallelPatternProvider,
    UnrolledPatternProvider,
)
from audiocraft.modules.conditioners import Fused

K, V = 4, 97
PROVIDERS = (
    ParallelPatternProvider(K),
    DelayedPatternProvider(K, [0, 1, 2, 3]),
    DelayedPatternProvider(K, [0, 0, 1, 3]),
    UnrolledPatternProvider(K, [0, 1, 1, 2], [0, 2, 2, 3]),
    CoarseFirstPattern(K),
    MusicLMPattern(K, 2),
)


class Clock:
    """Predicts, for the step after the n it has seen, the code 7 n + q in codebook q; notes what it was fed."""

    special_token_id = V
    num_codebooks = K
    fewest_rows = 1
    half_dtype = None

    def __init__(self, provider: CodebooksPatternProvider) -> None:
        self.pattern_provider = provider
        self.fed: list[Tensor] = []

    def init_state(self, batch_size: int, capacity: int, fused: Fused | None) -> list[int]:
        return [0]

    def logits(self, codes: Tensor, fused: Fused, state: list[int]) -> Tensor:
        self.fed.append(codes)
        steps = state[0] + 1 + torch.arange(codes.shape[-1])
        state[0] += codes.shape[-1]
        wanted = (7 * steps + torch.arange(K).unsqueeze(1)) % V  # [K, S]
        return torch.nn.functional.one_hot(wanted, V).float().expand(codes.shape[0], -1, -1, -1)


def run(lm: Clock, prompt: Tensor, length: int) -> tuple[Tensor, Session]:
    rows = prompt.shape[0]
    guided = GuidedBatch(
        lm=lm,
        rows=rows,
        passes=(Fused(),),
        branches=1,
        padded_rows=rows,
        coef=None,
        beta=None,
        device=torch.device("cpu"),
    )
    session = Session.open(range(rows))
    chunks = list(
        decode(guided, prompt, length=length, sampling=Sampling(use_sampling=False), session=session)
    )
    return torch.cat(chunks, dim=-1), session


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: type(provider).__name__)
@given(st.integers(1, 12), st.integers(0, 11))
def test_every_code_is_the_one_predicted_for_its_step(
    provider: CodebooksPatternProvider, length: int, known: int
) -> None:
    known = min(known, length - 1)
    lm = Clock(provider)
    prompt = torch.arange(2 * K * known).reshape(2, K, known) % V
    codes, session = run(lm, prompt, length)
    assert codes.shape == (2, K, length)
    assert torch.equal(codes[..., :known], prompt)
    pattern = provider.get_pattern(length)
    for frame in range(known, length):
        for q in range(K):
            step = pattern.get_first_step_with_timesteps(frame, q)
            assert step is not None and (codes[:, q, frame] == (7 * step + q) % V).all()
    fed = torch.cat(lm.fed, dim=-1)
    assert (fed >= 0).all(), "a code that is not chosen yet was fed"
    assert session.done == num_model_steps(pattern, known)


def test_frames_come_as_soon_as_they_are_complete() -> None:
    """With delays 0..3, frame t is complete three steps after its first codebook."""
    lm = Clock(PROVIDERS[1])
    guided = GuidedBatch(
        lm=lm,
        rows=1,
        passes=(Fused(),),
        branches=1,
        padded_rows=1,
        coef=None,
        beta=None,
        device=torch.device("cpu"),
    )
    empty = torch.zeros(1, K, 0, dtype=torch.long)
    frames = decode(guided, empty, length=9, sampling=Sampling(use_sampling=False), session=Session.open([0]))
    for number in range(9):
        assert next(frames).shape[-1] == 1
        assert len(lm.fed) == number + 4
