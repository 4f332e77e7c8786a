"""Codebook patterns: nothing is lost, nothing is seen too early, and the drawings of the module are true."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiocraft.errors import InvalidInput
from audiocraft.modules.codebooks_patterns import (
    CoarseFirstPattern,
    CodebooksPatternProvider,
    DelayedPatternProvider,
    LayoutCoord,
    MusicLMPattern,
    ParallelPatternProvider,
    Pattern,
    UnrolledPatternProvider,
)

SPECIAL = 1024


def providers(codebooks: int) -> list[CodebooksPatternProvider]:
    rising = list(range(codebooks))
    return [
        DelayedPatternProvider(codebooks),
        DelayedPatternProvider(
            codebooks, delays=[2 * lag for lag in rising], flatten_first=2, empty_initial=1
        ),
        ParallelPatternProvider(codebooks),
        ParallelPatternProvider(codebooks, empty_initial=-1),
        UnrolledPatternProvider(codebooks),
        UnrolledPatternProvider(
            codebooks, flattening=[lag // 2 for lag in rising], delays=[lag // 2 for lag in rising]
        ),
        CoarseFirstPattern(codebooks),
        CoarseFirstPattern(codebooks, delays=rising[1:]),
        MusicLMPattern(codebooks, group_by=2),
    ]


@given(st.integers(1, 5), st.integers(1, 12))
def test_every_code_survives_the_round_trip(codebooks: int, frames: int) -> None:
    codes = torch.arange(codebooks * frames).view(1, codebooks, frames)
    for provider in providers(codebooks):
        pattern = provider.get_pattern(frames)
        sequence, places, mask = pattern.build_pattern_sequence(codes, SPECIAL)
        assert torch.equal(sequence[0][mask].sort().values, torch.arange(codebooks * frames))
        assert (sequence[0][~mask] == SPECIAL).all() and places.shape == sequence.shape[1:]
        back, _, mask = pattern.revert_pattern_sequence(sequence, SPECIAL)
        assert mask.all() and torch.equal(back, codes)


@given(st.integers(1, 4), st.integers(2, 10))
def test_logits_of_a_step_go_to_the_codes_of_the_next(codebooks: int, frames: int) -> None:
    codes = torch.arange(codebooks * frames).view(1, codebooks, frames)
    for provider in providers(codebooks):
        pattern = provider.get_pattern(frames)
        if not pattern.starts_with_special_token():
            continue
        sequence, _, _ = pattern.build_pattern_sequence(codes, SPECIAL)
        perfect = torch.cat([sequence[..., 1:], sequence[..., :1]], dim=-1)[:, None].float()
        predicted, _, mask = pattern.revert_pattern_logits(perfect, float("nan"))
        assert mask.all() and torch.equal(predicted[:, 0].long(), codes)
        places, mask = pattern.logit_places(sequence.shape[-1])
        chosen = perfect[0, 0].gather(1, places)
        assert torch.equal(chosen[mask].long(), codes[0][mask])


@pytest.mark.parametrize(
    "provider",
    [
        DelayedPatternProvider(4),
        ParallelPatternProvider(2),
        UnrolledPatternProvider(3),
        CoarseFirstPattern(3),
        MusicLMPattern(4),
    ],
    ids=lambda provider: type(provider).__name__,
)
def test_the_drawing_in_the_docstring_is_what_happens(provider: CodebooksPatternProvider) -> None:
    rows = re.findall(r"^ *q\d((?: +[.\d]+)+?)(?: {4,}q\d.*)?$", inspect.getdoc(type(provider)) or "", re.M)
    drawn = [[SPECIAL if mark == "." else int(mark) for mark in row.split()] for row in rows]
    frames = max(mark for row in drawn for mark in row if mark != SPECIAL) + 1
    codes = torch.arange(frames).expand(1, provider.n_q, frames)
    sequence, _, _ = provider.get_pattern(frames).build_pattern_sequence(codes, SPECIAL)
    assert sequence[0].tolist() == drawn


def test_a_pattern_that_steps_back_is_refused() -> None:
    with pytest.raises(InvalidInput, match="must advance"):
        Pattern([[], [LayoutCoord(1, 0)], [LayoutCoord(0, 0)]], timesteps=2, n_q=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DelayedPatternProvider(4, delays=[0, 1]),
        lambda: DelayedPatternProvider(3, delays=[0, 2, 1]),
        lambda: UnrolledPatternProvider(2, flattening=[0, 0], delays=[0, 1]),
        lambda: CoarseFirstPattern(3, delays=[0]),
        lambda: MusicLMPattern(4, group_by=0),
        lambda: ParallelPatternProvider(0),
        lambda: (
            DelayedPatternProvider(4).get_pattern(5).build_pattern_sequence(torch.zeros(1, 4, 6).long(), 9)
        ),
        lambda: DelayedPatternProvider(4).get_pattern(5).get_steps_with_timestep(0, q=4),
    ],
)
def test_what_does_not_fit_is_refused(make) -> None:
    with pytest.raises(InvalidInput):
        make()


def test_providers_can_be_copied_and_pickled_after_use() -> None:
    """A cache on the instance would tie copies to the original, and could not be pickled."""
    provider = DelayedPatternProvider(4)
    layout = provider.get_pattern(7).layout
    assert provider.get_pattern(7) is provider.get_pattern(7)
    for other in (copy.deepcopy(provider), pickle.loads(pickle.dumps(provider))):
        assert other.get_pattern(7).layout == layout
