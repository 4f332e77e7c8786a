"""Silence, clipping and sounds that stand still."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiocraft.audio.faults import (
    StandstillMeter,
    is_clipped,
    is_silent,
    longest_repetition_s,
    longest_run,
    longest_still_s,
)

RATE = 24000


@pytest.fixture
def noise(generator: torch.Generator) -> Tensor:
    return 0.1 * torch.randn(10 * RATE, generator=generator)


def tone(seconds: float, rate: int = RATE, hz: float = 261.6) -> Tensor:
    return 0.1 * torch.sin(2 * torch.pi * hz * torch.arange(int(seconds * rate)) / rate)


def test_silence(noise: Tensor) -> None:
    assert not is_silent(noise) and is_silent(1e-4 * noise) and is_silent(torch.zeros(2, 0))


def test_clipping(noise: Tensor) -> None:
    assert not is_clipped(noise) and is_clipped((50 * noise).clamp(-1, 1)) and not is_clipped(noise[:0])


@pytest.mark.parametrize("rate", [16000, 24000, 44100])
def test_a_held_tone_stands_still_and_noise_does_not(noise: Tensor, rate: int) -> None:
    assert longest_still_s(noise, rate) < 0.2
    assert longest_still_s(tone(4, rate), rate) > 3.5
    mixed = torch.cat([noise[:rate], tone(3, rate), noise[:rate]])
    assert 2.5 < longest_still_s(mixed, rate) < 3.1


def test_a_rest_stands_still_only_where_silence_counts(noise: Tensor) -> None:
    wav = torch.cat([noise[:RATE], torch.zeros(3 * RATE), noise[:RATE]])
    assert longest_still_s(wav, RATE) > 2.5
    assert longest_still_s(wav, RATE, silence=False) < 0.2
    assert longest_still_s(torch.cat([wav, tone(3)]), RATE, silence=False) > 2.5


def test_the_spectrum_is_the_published_one(noise: Tensor) -> None:
    """Librosa's mel spectrogram, by which the share of stuck clips was measured from the beginning."""
    librosa = pytest.importorskip("librosa")
    vibrato = torch.cat([tone(1), tone(1.7) * torch.linspace(1, 1.05, int(1.7 * RATE)), 1e-3 * noise[:RATE]])
    mel = librosa.feature.melspectrogram(y=vibrato.numpy(), sr=RATE, n_fft=1920, hop_length=960, n_mels=40)
    level = librosa.power_to_db(mel, ref=np.max, top_db=40)
    still = np.abs(np.diff(level, axis=1)).max(0) < 0.1
    assert longest_still_s(vibrato, RATE) == longest_run(torch.from_numpy(still)) * 0.04


def test_repeated_codes(generator: torch.Generator) -> None:
    codes = torch.randint(0, 1024, (4, 250), generator=generator)
    assert longest_repetition_s(codes, 25.0) < 0.1
    codes[:, 100:180] = codes[:, 100:101]
    assert longest_repetition_s(codes, 25.0) == pytest.approx(79 / 25)
    assert longest_repetition_s(codes[:, :0], 25.0) == 0


@given(flags=st.lists(st.booleans(), max_size=30))
def test_the_longest_run(flags: list[bool]) -> None:
    runs = "".join("x" if flag else " " for flag in flags).split()
    assert longest_run(torch.tensor(flags, dtype=torch.bool)) == max(map(len, runs), default=0)


def test_too_short_to_stand_still() -> None:
    assert longest_still_s(torch.zeros(0), RATE) == 0 and longest_still_s(torch.zeros(10), RATE) == 0


def chord(seconds: float) -> Tensor:
    return sum((tone(seconds, RATE, hz) for hz in (220.0, 277.0, 330.0)), torch.zeros(1))


def test_one_tone_that_drowns_all_else_is_measured_and_a_chord_is_not() -> None:
    generator = torch.Generator().manual_seed(1)
    noise = 0.02 * torch.randn(8 * RATE, generator=generator)
    swelling = 0.6 + 0.4 * torch.sin(torch.arange(3 * RATE) / 1000)  # not still: its level changes
    stuck = noise.clone()
    stuck[RATE : 4 * RATE] += 5 * swelling * tone(3, RATE, 390.0)
    for wav, low, high in ((stuck, 2.5, 3.1), (noise, 0.0, 0.2), (noise + chord(8), 0.0, 0.5)):
        meter = StandstillMeter(RATE)
        meter.push(wav)
        assert low <= meter.held_s <= high
        assert meter.still_s < 0.5


@pytest.mark.parametrize("size", [7, 1000, 50000])
def test_a_standstill_is_measured_in_pieces_as_in_one(size: int) -> None:
    wav = torch.cat([3 * tone(2.5), 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(2))])
    whole, pieces = StandstillMeter(RATE), StandstillMeter(RATE)
    whole.push(wav[: 3 * RATE])
    for piece in wav[: 3 * RATE].split(size):
        pieces.push(piece)
    assert whole.still_s == pieces.still_s > 2 and whole.held_s == pieces.held_s > 2
