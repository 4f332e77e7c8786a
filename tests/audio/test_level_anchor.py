"""The level anchor holds the loudness of long pieces, leaves short ones alone, and gives the same in any pieces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiocraft.audio.level_anchor import AnchoredLevel, LevelAnchor
from audiocraft.audio.loudness import integrated_loudness
from audiocraft.errors import InvalidInput

RATE = 8000
ANCHOR = LevelAnchor(reference=10.0)


def noise(seconds: float, seed: int = 0) -> Tensor:
    return torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(seed)) * 0.1


def drifting(seconds: float, decibels: float) -> Tensor:
    """Noise whose level changes evenly from the first sample to the last, with a slow beat."""
    wav = noise(seconds)
    time = torch.arange(wav.shape[-1]) / RATE
    return wav * 10 ** (decibels * time / seconds / 20) * (0.6 + 0.4 * torch.sin(3 * time))


def passed(wav: Tensor, size: int | None = None, anchor: LevelAnchor = ANCHOR) -> Tensor:
    level = AnchoredLevel(anchor, RATE)
    return torch.cat([level.push(part) for part in wav.split(size or wav.shape[-1], dim=-1)], dim=-1)


def minutes(wav: Tensor) -> list[float]:
    return [float(integrated_loudness(part, RATE)) for part in wav.split(60 * RATE, dim=-1)]


@pytest.mark.parametrize("drift", [-10.0, 10.0])
def test_each_minute_is_as_loud_as_the_first(drift: float) -> None:
    wav = drifting(480, drift)
    before, after = minutes(wav), minutes(passed(wav))
    assert abs(before[-1] - before[0]) > 7
    assert all(abs(loudness - after[0]) < 1.0 for loudness in after)


def test_the_first_window_and_steady_audio_are_left_alone() -> None:
    wav = noise(40)
    out = passed(wav)
    assert torch.equal(out[..., : 10 * RATE], wav[..., : 10 * RATE])
    assert (out / wav).abs().sub(1).abs().max() < 0.05  # 0.4 dB


def test_pieces_of_any_size_give_the_same() -> None:
    wav = drifting(45, 9.0)
    whole = passed(wav)
    for size in (1234, RATE, 30011):
        torch.testing.assert_close(passed(wav, size), whole, atol=1e-7, rtol=1e-5)


def test_the_gain_is_smooth_and_bounded() -> None:
    jump = torch.cat([noise(20), noise(60) * 0.03], dim=-1)
    out = passed(jump)
    gain = 20 * (out / jump).abs().log10().flatten()
    assert gain.diff().abs().max() < 0.5 / RATE * 2
    assert gain.max() < ANCHOR.limit + 0.1
    assert gain[-1] > 11


def test_silence_is_not_raised() -> None:
    level = AnchoredLevel(ANCHOR, RATE)
    level.push(noise(15))
    held = level.gain
    level.push(torch.zeros(1, 60 * RATE))
    assert abs(level.gain - held) < 0.5
    quiet_start = torch.cat([torch.zeros(1, 30 * RATE), noise(20)], dim=-1)
    assert torch.isfinite(passed(quiet_start)).all()


def test_later_audio_changes_nothing_before_it() -> None:
    wav = drifting(40, 9.0)
    other = wav.clone()
    other[..., 25 * RATE :] *= 3
    assert torch.equal(passed(wav)[..., : 25 * RATE], passed(other)[..., : 25 * RATE])


def test_memory_does_not_grow() -> None:
    level = AnchoredLevel(ANCHOR, RATE)
    level.push(noise(60))
    assert len(level._powers) == 200 and sum(part.shape[-1] for part in level._heard) < RATE


def test_nonsense_is_refused() -> None:
    with pytest.raises(InvalidInput, match="reference"):
        LevelAnchor(reference=0.0)
