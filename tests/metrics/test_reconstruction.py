"""How far a sound is from its original, where the answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.metrics.reconstruction import MelDistance, log_mel_distance, si_snr

RATE = 24000


@pytest.fixture
def noise(generator: torch.Generator) -> Tensor:
    return 0.1 * torch.randn(4 * RATE, generator=generator)


def test_halving_a_sound_is_six_decibels(noise: Tensor) -> None:
    assert log_mel_distance(noise, noise, RATE) == 0
    assert log_mel_distance(0.5 * noise, noise, RATE) == pytest.approx(6.02, abs=0.01)


def test_what_the_original_does_not_have_counts_down_to_its_floor(noise: Tensor) -> None:
    """Silence in place of a sound costs no more than the 80 dB that are looked at."""
    assert 40 < log_mel_distance(torch.zeros_like(noise), noise, RATE) <= 80


def test_the_ratio_of_signal_and_error_knows_no_level(noise: Tensor) -> None:
    other = noise.roll(12345)
    assert si_snr(noise + 0.1 * other, noise, RATE) == pytest.approx(20, abs=0.5)
    assert si_snr(3 * (noise + 0.1 * other), noise, RATE) == pytest.approx(20, abs=0.5)


def test_the_distance_of_training_is_that_of_powers(noise: Tensor) -> None:
    distance = MelDistance(RATE)
    wav = noise[None, None]
    assert float(distance(wav, wav)) == 0
    assert 0 < float(distance(0.5 * wav, wav)) <= 6.1
    assert float(distance(0.9 * wav, wav)) < float(distance(0.5 * wav, wav))


def test_sounds_of_other_lengths_are_refused(noise: Tensor) -> None:
    with pytest.raises(InvalidInput, match="one length"):
        log_mel_distance(noise[:-1], noise, RATE)
