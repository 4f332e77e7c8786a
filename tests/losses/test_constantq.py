"""The constant-Q loss: a semitone matters in every octave."""

from __future__ import annotations

import math

import pytest
import torch

from audiocraft.losses import ConstantQLoss


def tone(hz: float) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * hz * torch.arange(24000) / 24000)[None, None]


@pytest.mark.parametrize("hz", [98.0, 220.0, 880.0, 3520.0])
def test_a_semitone_costs_much_and_a_phase_little(hz: float) -> None:
    loss = ConstantQLoss()
    shifted = torch.roll(tone(hz), 7, dims=-1)
    assert float(loss(tone(hz * 2 ** (1 / 12)), tone(hz))) > 5 * float(loss(shifted, tone(hz)))


def test_equal_signals_cost_nothing_and_gradients_are_finite_in_silence() -> None:
    loss = ConstantQLoss()
    assert float(loss(tone(440), tone(440))) == 0.0
    silence = torch.zeros(1, 1, 24000, requires_grad=True)
    loss(silence, tone(440)).backward()
    assert silence.grad is not None and bool(silence.grad.isfinite().all())
