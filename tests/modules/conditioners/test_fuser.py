"""The fuser: each condition enters where the configuration says, whole or step by step."""

from __future__ import annotations

import pytest
import torch

from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.modules.conditioners import ConditionFuser, Fused
from audiocraft.modules.conditioners.fuser import apply_fused


def condition(generator, length: int, rows: int = 2, dim: int = 6):
    return torch.randn(rows, length, dim, generator=generator), torch.ones(rows, length)


def test_places(generator) -> None:
    fuser = ConditionFuser({"prepend": ["a"], "sum": ["b"], "cross": ["c"], "frames": ["f"], "ignore": ["i"]})
    names = {"a": 4, "b": 1, "c": 3, "f": 5, "i": 2}
    conditions = {name: condition(generator, length) for name, length in names.items()}
    fused = fuser.fuse(conditions)
    assert fused.prepended == 4 and torch.equal(fused.cross, conditions["c"][0])
    assert torch.equal(fused.frames, conditions["f"][0]) and fused.interpolate is None
    x = torch.zeros(2, 7, 6)
    out, cross = fuser(x, conditions)
    added = conditions["b"][0]
    torch.testing.assert_close(out[:, :4], conditions["a"][0] + added)
    torch.testing.assert_close(out[:, 4:9], conditions["f"][0] + added)
    torch.testing.assert_close(out[:, 9:], added.expand(-1, 2, -1))
    assert cross is fused.cross or torch.equal(cross, fused.cross)


def test_frames_follow_the_position_of_each_row(generator) -> None:
    frames, _ = condition(generator, 5)
    out = apply_fused(
        torch.zeros(2, 3, 6),
        Fused(frames=frames),
        torch.tensor([[1, 2, 3], [4, 5, 6]]),
        with_prepend=False,
    )
    torch.testing.assert_close(out[0], frames[0, 1:4])
    torch.testing.assert_close(out[1, :1], frames[1, 4:])
    assert not out[1, 1:].any()
    late = apply_fused(
        torch.zeros(2, 3, 6), Fused(frames=frames), torch.arange(3).expand(2, -1),
        with_prepend=False, first_frame=2,
    )  # fmt: skip
    whole = apply_fused(torch.zeros(2, 9, 6), Fused(frames=frames), None, first_frame=2)
    assert torch.equal(whole[:, 2:7], frames) and not whole[:, :2].any() and not whole[:, 7:].any()
    assert not late[:, :2].any() and torch.equal(late[:, 2], frames[:, 0])


def test_step_by_step_is_all_at_once(generator) -> None:
    fuser = ConditionFuser({"prepend": ["a"], "frames": ["f"], "sum": ["b"]})
    conditions = {"a": condition(generator, 2), "f": condition(generator, 4), "b": condition(generator, 1)}
    x = torch.randn(2, 6, 6, generator=generator)
    whole, _ = fuser(x, conditions)
    with fuser.streaming():
        steps = [fuser(part, conditions)[0] for part in x.split([2, 1, 3], dim=1)]
    torch.testing.assert_close(torch.cat(steps, 1), whole)


def test_rows_of_fused_conditions_are_a_batch(generator) -> None:
    one, two = (Fused(add=condition(generator, 1)[0], frames=condition(generator, n)[0]) for n in (3, 5))
    both = Fused.cat([one, two])
    assert both.add.shape == (4, 1, 6) and both.frames.shape == (4, 5, 6) and not both.frames[:2, 3:].any()
    assert torch.equal(both.rows(slice(2, 4)).frames, two.frames)
    assert both.to(torch.float64).add.dtype == torch.float64
    with pytest.raises(InvalidInput, match="lengths"):
        Fused.cat([Fused(cross=torch.zeros(1, 2, 6)), Fused(cross=torch.zeros(1, 3, 6))])
    with pytest.raises(InvalidInput, match="some rows"):
        Fused.cat([one, Fused()])


def test_conditions_of_frames_add_up(generator) -> None:
    long, short = condition(generator, 5), condition(generator, 3)
    fused = ConditionFuser({"frames": ["a", "b"]}).fuse({"a": long, "b": short})
    assert torch.equal(fused.frames[:, :3], long[0][:, :3] + short[0])
    assert torch.equal(fused.frames[:, 3:], long[0][:, 3:])


def test_what_does_not_fit_is_refused(generator) -> None:
    with pytest.raises(ConfigError, match="multiply"):
        ConditionFuser({"multiply": ["a"]})
    with pytest.raises(InvalidInput, match="does not know"):
        ConditionFuser({"sum": ["a"]}).fuse({"z": condition(generator, 1)})
    with pytest.raises(InvalidInput, match="one vector"):
        ConditionFuser({"sum": ["a"]}).fuse({"a": condition(generator, 3)})
    with pytest.raises(InvalidInput, match="not several"):
        ConditionFuser({"input_interpolate": ["a", "b"]}).fuse(
            {"a": condition(generator, 3), "b": condition(generator, 3)}
        )
    stretched = ConditionFuser({"input_interpolate": ["a"]})
    with stretched.streaming(), pytest.raises(InvalidInput, match="whole sequence"):
        stretched(torch.zeros(2, 3, 6), {"a": condition(generator, 3)})
