"""Guidance: the versions of a batch and how their answers combine, on a network that only counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation.guidance import branches_of, prepare
from audiocraft.generation.request import Guidance
from audiocraft.modules.conditioners import Fused
from audiocraft.modules.conditioners.score import PLAN
from audiocraft.types import ConditioningAttributes, ScorePlan, SymbolicCondition, WavCondition

TEXT, SOUND, TOLD = 7.0, 11.0, 13.0


class Listener:
    """Answers 7 for a text plus 11 for a sound plus 13 for a plan, at every code."""

    fewest_rows = 1
    half_dtype = None
    fuser = SimpleNamespace(fuse=lambda embedded: Fused(add=embedded))

    class condition_provider:
        has_wav_condition = True

        @staticmethod
        def tokenize(rows: Sequence[ConditioningAttributes]) -> Any:
            return rows

        def __new__(cls, rows: Sequence[ConditioningAttributes]) -> Any:  # called like a module
            heard = [
                TEXT * bool(row.text["description"])
                + SOUND * bool(row.wav["self_wav"].length.any())
                + TOLD * (PLAN in row.symbolic and row.symbolic[PLAN].plan is not None)
                for row in rows
            ]
            return torch.tensor(heard).view(-1, 1, 1)

    def init_state(self, batch_size: int, capacity: int, fused: Fused) -> list[int]:
        assert fused.add is not None and len(fused.add) == batch_size
        return [capacity]

    def logits(self, codes: Tensor, fused: Fused, state: Any = None) -> Tensor:
        assert fused.add is not None
        return fused.add.unsqueeze(-1).expand(len(codes), 2, codes.shape[-1], 5)


def row(text: str | None, sound: bool) -> ConditioningAttributes:
    wav = WavCondition(torch.ones(1, 1, 4), torch.tensor([4 * sound]), [8], [None], [None])
    return ConditioningAttributes(text={"description": text}, wav={"self_wav": wav})


def answer(guidance: Guidance, *rows: ConditioningAttributes) -> list[float]:
    guided = prepare(Listener(), rows, guidance, device=torch.device("cpu"))  # type: ignore[arg-type]
    logits = guided.logits(torch.zeros(len(rows), 2, 3, dtype=torch.long), guided.open(9))
    assert logits.shape == (len(rows), 2, 5)
    return [float(value) for value in logits[:, 0, 0]]


@pytest.mark.parametrize("two_step", [False, True])
def test_double_guidance(two_step: bool) -> None:
    """null + a (sound + b (text and sound - sound) - null), the formula of the paper on style."""
    rows = row("x", True), row(None, True), row("x", False), row(None, False), row("x", True)
    double = answer(Guidance(coef=3.0, coef_beta=5.0, two_step=two_step), *rows)
    assert double == [3 * (SOUND + 5 * TEXT), 3 * SOUND, 15 * TEXT, 0.0, 3 * (SOUND + 5 * TEXT)]
    single = answer(Guidance(coef=3.0, two_step=two_step), *rows)
    assert single == [3 * (SOUND + TEXT), 3 * SOUND, 3 * TEXT, 0.0, 3 * (SOUND + TEXT)]
    assert answer(Guidance(coef=3.0, coef_beta=1.0, two_step=two_step), *rows) == single


def test_versions() -> None:
    rows = [row("x", True), row(None, False)]
    assert len(branches_of(rows, Guidance(coef=1.0), hears=True)) == 1
    assert len(branches_of(rows, Guidance(coef=1.0, coef_beta=1.0), hears=True)) == 1
    assert len(branches_of(rows, Guidance(coef=1.0, coef_beta=2.0), hears=True)) == 3
    asked, sound, null = branches_of(rows, Guidance(coef_beta=2.0), hears=True)
    assert asked == rows
    assert [entry.text["description"] for entry in [*sound, *null]] == [None] * 4
    assert [int(entry.wav["self_wav"].length) for entry in [*sound, *null]] == [4, 0, 0, 0]
    nothing = branches_of([row(None, False)], Guidance(coef_beta=2.0), hears=True)
    assert len(nothing) == 1
    with pytest.raises(InvalidInput, match="melody or style"):
        branches_of(rows, Guidance(coef_beta=2.0), hears=False)


def test_guidance_leads_away_from_a_negative_text() -> None:
    """negative + a (asked - negative): rows without one are what they were, and batches keep their shape."""
    asked = row("x", True)
    denied = replace(row("x", True), negative={"description": "drums"})
    nothing = replace(row(None, False), negative={"description": "drums"})
    plain = answer(Guidance(coef=3.0), asked)
    assert answer(Guidance(coef=3.0), asked, denied) == [*plain, TEXT + 3 * SOUND]
    assert answer(Guidance(coef=3.0), nothing) == [TEXT + 3 * (0 - TEXT)]


def test_plans_can_have_a_strength_of_their_own() -> None:
    """null + p (plan - null) + a (asked - plan)."""
    plan = SymbolicCondition(plan=ScorePlan(tempo=120.0))
    planned = replace(row("x", True), symbolic={PLAN: plan})
    alone, without = replace(row(None, False), symbolic={PLAN: plan}), row("x", True)
    own = Guidance(coef=3.0, coef_plan=1.5)
    assert answer(own, planned) == [1.5 * TOLD + 3 * (TEXT + SOUND)]
    assert answer(own, without) == answer(Guidance(coef=3.0), without)
    assert answer(own, planned, without, alone) == [
        *answer(own, planned), *answer(own, without), *answer(own, alone)
    ]  # fmt: skip
    assert answer(Guidance(coef=3.0, coef_plan=3.0), planned) == answer(Guidance(coef=3.0), planned)
    asked, middle, null = branches_of([planned, without], own, hears=True)
    assert [one.symbolic for one in middle] == [{PLAN: plan}, {}] and asked[0] == planned
    assert [one.text["description"] for one in [*middle, *null]] == [None] * 4
    assert null[0].symbolic[PLAN].plan is None
    denied = replace(planned, negative={"description": "drums"})
    assert answer(own, denied) == [TEXT + 1.5 * TOLD + 3 * SOUND]
    assert len(branches_of([planned], Guidance(coef=1.0, coef_plan=1.0), hears=True)) == 1
    both = Guidance(coef=3.0, coef_plan=1.5, coef_beta=5.0)
    assert len(branches_of([planned], both, hears=True)) == 4
    assert answer(both, planned) == [1.5 * TOLD + 3 * (SOUND + TOLD + 5 * TEXT - TOLD)]


def test_rows_that_deny_can_be_led_further_than_their_neighbours() -> None:
    asked = row("x", True)
    denied = replace(row("x", True), negative={"description": "drums"})
    strength = Guidance(coef=3.0, coef_negative=5.0)
    assert answer(strength, asked) == answer(Guidance(coef=3.0), asked)
    assert answer(strength, denied) == answer(Guidance(coef=5.0), denied)
    assert answer(strength, asked, denied) == [*answer(strength, asked), *answer(strength, denied)]
    plain = Guidance(coef=1.0, coef_negative=5.0)
    assert answer(plain, denied) == answer(Guidance(coef=5.0), denied)
    assert answer(plain, asked) == answer(Guidance(coef=1.0), asked)
