"""A tune is read off a recording note by note, and what is struck is told from what rings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiocraft.audio.salience import FRAME_RATE, LOWEST_PITCH, melody_salience
from audiocraft.modules.conditioners.stems import _middle, percussive

RATE = 24000


def tone(pitch: int, seconds: float, harmonics: int) -> Tensor:
    time = torch.arange(int(seconds * RATE)) / RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    waves = [torch.sin(2 * torch.pi * frequency * k * time) / k for k in range(1, harmonics + 1)]
    return 0.2 * torch.stack(waves).sum(0)


@pytest.mark.parametrize("harmonics", [1, 4, 8])
def test_a_tune_is_read_note_by_note(harmonics: int) -> None:
    """Of voices as pure as a flute and as rich as a string; frames in which notes meet may be either."""
    pitches = [60, 64, 67, 72, 57, 69, 48, 81]
    wav = torch.cat([tone(pitch, 0.5, harmonics) for pitch in pitches])[None]
    salience, rate = melody_salience(wav, RATE)
    assert rate == FRAME_RATE and salience.shape[0] == 53 and bool((salience.sum(0) <= 1).all())
    found = salience.argmax(0) + LOWEST_PITCH
    wanted = torch.tensor(pitches).repeat_interleave(round(0.5 * rate))[: len(found)]
    right = (found[: len(wanted)] == wanted).float().mean()
    assert right > 0.85


def test_silence_has_no_tune() -> None:
    wav = torch.cat([tone(60, 0.5, 4), torch.zeros(RATE // 2)])[None]
    salience, rate = melody_salience(wav, RATE)
    assert float(salience[:, round(0.65 * rate) :].sum()) == 0
    assert float(melody_salience(torch.zeros(1, RATE), RATE)[0].sum()) == 0


def test_what_is_struck_stays_and_what_rings_goes() -> None:
    generator = torch.Generator().manual_seed(0)
    clicks = torch.zeros(2 * RATE)
    for hit in range(4):
        place = hit * RATE // 2 + 1000
        burst = torch.randn(600, generator=generator) * torch.exp(-torch.arange(600) / 120)
        clicks[place : place + 600] = 0.5 * burst
    ringing = tone(60, 2.0, 6) + tone(67, 2.0, 6)
    found = percussive((clicks + ringing)[None, None], RATE)
    assert found.shape == (1, 1, 2 * RATE)
    from_clicks, from_ringing = (percussive(part[None, None], RATE) for part in (clicks, ringing))
    assert from_clicks.square().sum() > 0.5 * clicks.square().sum()
    assert from_ringing.square().sum() < 0.05 * ringing.square().sum()
    assert torch.equal(percussive(torch.zeros(1, 1, RATE), RATE), torch.zeros(1, 1, RATE))


@pytest.mark.parametrize("count", [1, 3, 5, 7, 19, 21, 33])
def test_the_middle_of_tensors_is_their_median(count: int) -> None:
    values = torch.rand(count, 200, generator=torch.Generator().manual_seed(count)).round(decimals=1)
    assert torch.equal(_middle(list(values)), values.median(0).values)
