"""Seams that can be heard are found, and those that cannot are not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest, Guidance
from audiocraft.metrics.seams import measure_seams
from audiocraft.models import MusicGen

RATE = 16000


def noise(seconds: float, seed: int) -> Tensor:
    return torch.randn(1, int(seconds * RATE), generator=torch.Generator().manual_seed(seed)) * 0.1


def test_steady_noise_has_no_seams() -> None:
    found = measure_seams([(noise(40, 0), range(RATE, 39 * RATE, RATE))], RATE)
    assert found.count == 38
    assert abs(found.flux.chance_above - 0.5) < 0.15 and abs(found.level.chance_above - 0.5) < 0.15
    assert found.flux.at_seams == pytest.approx(found.flux.elsewhere, rel=0.05)


def test_jumps_in_level_and_spectrum_are_found() -> None:
    parts = [noise(2, seed) * (1 if seed % 2 else 0.3) for seed in range(8)]
    seams = [2 * RATE * part for part in range(1, 8)]
    louder = measure_seams([(torch.cat(parts, dim=-1), seams)], RATE)
    assert louder.level.chance_above > 0.99 and 9 < louder.level.at_seams < 12
    tones = [torch.sin(torch.arange(2 * RATE) * (0.1 + 0.05 * part))[None] * 0.1 for part in range(8)]
    other = measure_seams([(torch.cat(tones, dim=-1), seams)], RATE)
    assert other.flux.chance_above > 0.99 and other.level.at_seams < 1


def test_seams_are_where_windows_take_over() -> None:
    model = MusicGen.get_pretrained("debug", device="cpu")
    job = model.prepare(GenerationRequest(prompts=(None,), duration=9.0, guidance=Guidance(coef=1)))
    seconds = [seam / model.sample_rate for seam in model.seams(job)]
    assert seconds == pytest.approx([4.0, 6.4, 8.8])


def test_pieces_without_seams_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no seam"):
        measure_seams([(noise(3, 0), [])], RATE)
