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
from audiocraft.types import ConditioningAttributes, WavCondition

TEXT, SOUND = 7.0, 11.0


class Listener:
    """Answers 7 for a text plus 11 for a sound, at every code."""

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
                TEXT * bool(row.text["description"]) + SOUND * bool(row.wav["self_wav"].length.any())
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
