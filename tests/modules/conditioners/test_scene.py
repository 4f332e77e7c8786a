"""Scenes as numbers: which kinds are heard in each frame, and nothing at all where there is no scene."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from audiocraft.modules.conditioners.scene import FEATURES_PER_KIND, SceneConditioner, scene_features
from audiocraft.types import Scene, SceneEvent, SymbolicCondition

KINDS = ("rain", "dog", "door")
SCENE = Scene(
    events=(
        SceneEvent(kind="rain", start=0.0, end=10.0),
        SceneEvent(kind="dog", start=2.02, end=4.0),
        SceneEvent(kind="ufo", start=0.0, end=10.0),  # which the model is not told
    ),
    duration=10.0,
)


@pytest.fixture
def conditioner() -> SceneConditioner:
    torch.manual_seed(0)
    return SceneConditioner(output_dim=12, frame_rate=25, kinds=KINDS, lasting=["rain"]).eval()


def test_each_frame_says_what_it_hears() -> None:
    features = scene_features(SCENE, KINDS, 25)
    assert features.shape == (250, FEATURES_PER_KIND * len(KINDS))
    heard, began, left = features.unflatten(1, (FEATURES_PER_KIND, len(KINDS))).unbind(1)
    assert bool((heard[:, 0] == 1).all()) and bool((features[:, 2::3] == 0).all())
    assert heard[[49, 50, 51, 99, 100], 1].tolist() == pytest.approx([0, 0.5, 1, 1, 0], abs=1e-6)
    assert began[51, 1] > 0.9 > began[75, 1] > began[99, 1]
    assert left[0, 0] == 1 and left[99, 1] == pytest.approx(0.04 / 4, abs=1e-6)
    assert float(features.min()) >= 0 and float(features.max()) <= 1


def test_a_kind_is_loud_in_its_bursts_alone() -> None:
    event = SceneEvent(kind="dog", start=1.0, end=4.0, bursts=((1.0, 1.2), (2.0, 2.4)))
    features = scene_features(Scene(events=(event,)), KINDS, 25)
    heard, began, left = features.unflatten(1, (FEATURES_PER_KIND, len(KINDS))).unbind(1)
    assert heard[:, 1].nonzero().flatten().tolist() == [*range(25, 30), *range(50, 60)]
    assert began[50, 1] == 1 and left[50, 1] == pytest.approx(0.1)


def test_what_is_absent_is_told_apart_from_what_nobody_knows() -> None:
    told = scene_features(replace(SCENE, absent=("door", "dog", "ufo")), KINDS, 25)
    unknown = scene_features(SCENE, KINDS, 25)
    heard = told.unflatten(1, (FEATURES_PER_KIND, len(KINDS)))[:, 0]
    assert bool((heard[:, 2] == -1).all())
    # What is heard is not absent, whatever is said.
    assert torch.equal(told[:, [0, 1, 3, 4, 6, 7]], unknown[:, [0, 1, 3, 4, 6, 7]])
    window = replace(SCENE, absent=("door",)).window(2.0, 4.0)
    assert window.absent == ("door",) and float(scene_features(window, KINDS, 25).min()) == -1


@pytest.mark.parametrize("start", [0.0, 1.6, 3.24, 7.0])
def test_a_window_is_the_same_rows_as_the_whole(start: float) -> None:
    whole = scene_features(SCENE, KINDS, 25)
    window = scene_features(SCENE.window(start, 2.0), KINDS, 25)
    first = round(start * 25)
    torch.testing.assert_close(window, whole[first : first + 50], atol=1e-5, rtol=0)


def test_rows_do_not_depend_on_their_neighbours(conditioner: SceneConditioner) -> None:
    rows = [
        SymbolicCondition(scene=SCENE),
        None,
        SymbolicCondition(scene=SCENE.window(0, 4)),
        SymbolicCondition(),
    ]
    together, mask = conditioner(conditioner.tokenize(rows))
    assert mask.sum(1).tolist() == [250, 0, 100, 0]
    assert together[1].abs().max() == 0 and together[3].abs().max() == 0
    for row, condition in enumerate(rows):
        alone, own = conditioner(conditioner.tokenize([condition]))
        torch.testing.assert_close(together[row, own[0].nonzero().flatten()], alone[0][own[0]])
