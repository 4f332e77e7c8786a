"""Score plans as numbers: the beat grid, the chord of each frame, and nothing at all where there is no plan."""

from __future__ import annotations

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.modules.conditioners.score import NUM_FEATURES, ScoreConditioner, num_frames, score_features
from audiocraft.types import ScorePlan, SymbolicCondition

PLAN = ScorePlan(tempo=100, key="A minor", chords=((0.0, "Am"), (2.4, "F"), (4.8, "C")), duration=10.0)


@pytest.fixture
def conditioner() -> ScoreConditioner:
    torch.manual_seed(0)
    return ScoreConditioner(output_dim=12, frame_rate=25).eval()


def test_one_row_per_frame():
    assert score_features(PLAN, 25).shape == (250, NUM_FEATURES)
    assert num_frames(10.0, 25) == 250
    assert num_frames(0.05, 25) == 2


@pytest.mark.parametrize("start", [0.0, 1.6, 3.24, 7.0])
def test_a_window_is_the_same_rows_as_the_whole(start):
    """Long pieces are made in windows: the beat must not jump where one ends."""
    whole = score_features(PLAN, 25)
    window = score_features(PLAN.window(start, 2.0), 25)
    first = round(start * 25)
    torch.testing.assert_close(window, whole[first : first + 50], atol=1e-5, rtol=0)


def test_features_repeat_with_the_bar():
    plan = ScorePlan(tempo=120, duration=8.0)  # no chords: four bars of two seconds, 50 frames each
    features = score_features(plan, 25)
    assert torch.equal(features[:, 16:24].argmax(1)[:50], features[:, 16:24].argmax(1)[50:100])


def test_beats_fall_into_the_frames_they_belong_to():
    features = score_features(ScorePlan(tempo=60, duration=4.0), 25)
    beat_inside = features[:, 10]
    assert beat_inside.nonzero().flatten().tolist() == [0, 25, 50, 75]


def test_rows_do_not_depend_on_their_neighbours(conditioner):
    rows = [
        SymbolicCondition(plan=PLAN),
        None,
        SymbolicCondition(plan=PLAN.window(0, 4)),
        SymbolicCondition(),
    ]
    together, mask = conditioner(conditioner.tokenize(rows))
    assert mask.sum(1).tolist() == [250, 0, 100, 0]
    assert together[1].abs().max() == 0 and together[3].abs().max() == 0
    for row, condition in enumerate(rows):
        alone, own = conditioner(conditioner.tokenize([condition]))
        torch.testing.assert_close(together[row, own[0].nonzero().flatten()], alone[0][own[0]])


def test_a_plan_that_cannot_be_told_is_refused():
    with pytest.raises(InvalidInput, match="9 beats per bar"):
        score_features(ScorePlan(tempo=100, beats_per_bar=9), 25)
