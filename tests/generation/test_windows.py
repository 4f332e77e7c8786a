"""Windows cover every frame once, never hear more than the model can, and carry plans along in time."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from audiocraft.errors import InvalidInput
from audiocraft.generation.windows import Window, at_window, frames_of, part_of, plan_windows, stride_of
from audiocraft.types import ConditioningAttributes, ScorePlan, SymbolicCondition, WavCondition


@given(st.integers(1, 2000), st.integers(2, 300), st.integers(1, 300), st.integers(0, 2000))
def test_spans_cover_the_piece(total: int, context: int, stride: int, prompt: int) -> None:
    assume(stride < context and prompt < total)
    spans = plan_windows(total, context=context, stride=stride, prompt=prompt)
    assert spans[-1].stop == total
    assert all(0 <= span.known < span.length <= context for span in spans)
    assert spans[0].start + spans[0].known == prompt
    for before, after in pairwise(spans):
        assert after.start + after.known == before.stop
        assert after.start - before.start == stride


@given(
    st.integers(1, 600),
    st.integers(2, 100),
    st.integers(1, 100),
    st.integers(0, 600),
    st.lists(st.integers(1, 599), max_size=4),
)
def test_what_changes_begins_a_window(
    total: int, context: int, stride: int, prompt: int, changes: list[int]
) -> None:
    assume(stride < context and prompt < total)
    spans = plan_windows(total, context=context, stride=stride, prompt=prompt, changes=changes)
    begins = {span.start + span.known for span in spans}
    assert begins >= {frame for frame in changes if prompt < frame < total}
    assert spans[-1].stop == total and all(0 <= span.known < span.length <= context for span in spans)
    for before, after in pairwise(spans):
        assert after.start + after.known == before.stop and after.start >= before.start
        assert after.known == min(before.stop, context - stride) or after.start == before.start


def test_a_short_piece_is_one_window() -> None:
    assert plan_windows(50, context=50, stride=20) == (Window(0, 50, 0),)


def test_the_original_schedule() -> None:
    """5 s at 50 Hz with 3 s of context, 2 s apart, as upstream walks it."""
    assert plan_windows(250, context=150, stride=100) == (Window(0, 150, 0), Window(100, 250, 50))


def test_stride_suits_short_models() -> None:
    assert stride_of(None, 30.0) == 18.0
    assert stride_of(None, 10.0) == 6.0
    assert stride_of(4.0, 10.0) == 4.0
    with pytest.raises(InvalidInput, match="shorter than the 10 s"):
        stride_of(10.0, 10.0)


def test_frames_of_is_not_fooled_by_rounding() -> None:
    assert frames_of(0.6, 50) == 30
    assert frames_of(10.0, 25) == 250
    assert frames_of(0.01, 25) == 1
    assert frames_of(1.001, 25) == 26


def test_plans_move_with_their_window() -> None:
    plan = ScorePlan(tempo=120, duration=30.0, chords=((0.0, "Am"), (8.0, "F")))
    attributes = ConditioningAttributes(
        text={"description": "x"}, symbolic={"plan": SymbolicCondition(plan=plan)}
    )
    moved = at_window(attributes, Window(150, 400, 100), frame_rate=25.0)
    assert moved.symbolic["plan"].plan == plan.window(6.0, 10.0)
    assert moved.text == attributes.text
    assert attributes.symbolic["plan"].plan == plan


def ramp(samples: int) -> WavCondition:
    return WavCondition(
        torch.arange(samples).float().view(1, 1, -1), torch.tensor([samples]), [100], ["a"], [0.0]
    )


@given(st.integers(1, 700), st.floats(0, 20), st.floats(0.1, 5))
def test_a_melody_repeats_through_the_piece(samples: int, start: float, duration: float) -> None:
    part = part_of(ramp(samples), start, duration)
    length = int(part.length)
    assert part.wav.shape == (1, 1, length) and abs(length - 100 * duration) <= 1
    first = int(part.wav[0, 0, 0])
    assert torch.equal(part.wav[0, 0], ((torch.arange(length) + first) % samples).float())
    assert (first - int(start * 100 + 1e-6)) % samples == 0
    assert part.path == [None], "a moved melody must not be taken from a cache of files"


def test_melodies_move_and_styles_stay() -> None:
    wav = {"melody": ramp(500), "style": ramp(500), "none": ramp(0)}
    attributes = ConditioningAttributes(wav=wav)
    moved = at_window(attributes, Window(150, 250, 50), 25.0, context=4.0, moving={"melody", "none"})
    assert moved.wav["melody"].wav[0, 0, 0] == 100 and int(moved.wav["melody"].length) == 400
    assert moved.wav["style"] is wav["style"] and moved.wav["none"] is wav["none"]
    assert at_window(attributes, Window(0, 50, 0), 25.0, moving={"melody"}).wav == wav
