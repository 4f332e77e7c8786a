"""Kept regions of a recording: their samples stay, what is beside them joins without a step and at their level."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiocraft.audio.finishing import Finish
from audiocraft.audio.keeping import KeptSamples
from audiocraft.audio.processing import processed
from audiocraft.models.watermarks.provenance import finished_and_marked

RATE = 24000
FADE = 720


def noise(seconds: float, seed: int = 1, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.randn(channels, round(seconds * RATE), generator=generator).clamp(-3, 3)


def kept(
    audio: Tensor, *regions: tuple[float, float], duration: float = 4.0, level: bool = False
) -> KeptSamples:
    return KeptSamples(audio=audio, sample_rate=RATE, regions=regions, duration=duration, level=level)


def at(second: float) -> int:
    return round(second * RATE)


def test_samples_of_kept_regions_are_those_of_the_recording() -> None:
    there, made = noise(4.0), noise(4.0, 2)
    found = processed(made, RATE, kept(there, (0, 1), (2, 3.5)))
    for first, stop in ((0, at(1) - FADE), (at(2) + FADE, at(3.5) - FADE)):
        assert torch.equal(found[:, first:stop], there[:, first:stop])
    for first, stop in ((at(1), at(2)), (at(3.5), at(4))):
        assert torch.equal(found[:, first:stop], made[:, first:stop])


def test_beginning_and_end_of_a_piece_do_not_fade() -> None:
    there = noise(4.0)
    found = processed(noise(4.0, 2), RATE, kept(there, (0, 1), (3, 3.999)))  # clients round seconds
    assert torch.equal(found[:, :FADE], there[:, :FADE])
    assert torch.equal(found[:, -FADE:], there[:, -FADE:])


def test_regions_that_touch_are_one_and_short_ones_fade_in_half() -> None:
    there, made = noise(4.0), noise(4.0, 2)
    found = processed(made, RATE, kept(there, (0.5, 1), (1, 2), (3, 3.02)))
    assert torch.equal(found[:, at(0.5) + FADE : at(2) - FADE], there[:, at(0.5) + FADE : at(2) - FADE])
    short = slice(at(3), at(3.02))
    low, high = torch.minimum(there, made)[:, short], torch.maximum(there, made)[:, short]
    assert bool(((found[:, short] >= low - 1e-6) & (found[:, short] <= high + 1e-6)).all())


@pytest.mark.parametrize("size", [1, 37, 4096])
@pytest.mark.parametrize("level", [False, True])
def test_any_pieces_give_the_same(size: int, level: bool) -> None:
    there, made = noise(0.5), 0.5 * noise(0.5, 2)
    processor = kept(there, (0.1, 0.2), (0.3, 0.4), duration=0.5, level=level)
    stream = processor.open(RATE, 1)
    parts = [stream.push(part) for part in made.split(size, dim=-1)]
    assert torch.equal(torch.cat([*parts, stream.finish()], -1), processed(made, RATE, processor))


@pytest.mark.parametrize("region", [(0.0, 2.0), (2.0, 4.0), (1.0, 3.0)])
def test_what_is_made_gets_the_level_back_that_the_codec_took(region: tuple[float, float]) -> None:
    there = noise(4.0)
    found = processed(0.5 * there, RATE, kept(there, region, level=True))
    torch.testing.assert_close(found, there, atol=1e-3, rtol=0)


def test_silence_and_what_is_no_number_have_no_level() -> None:
    silent = processed(noise(4.0), RATE, kept(torch.zeros(1, at(4)), (0, 1), level=True))
    assert torch.equal(silent[:, at(1) :], noise(4.0)[:, at(1) :])
    broken = torch.full((1, at(4)), torch.nan)
    found = processed(broken, RATE, kept(noise(4.0), (0, 1), level=True))
    assert torch.equal(found[:, : at(1) - FADE], noise(4.0)[:, : at(1) - FADE])
    assert bool(found[:, at(1) :].isnan().all())


def test_other_rates_channels_and_whole_numbers_are_brought_to_those_of_the_piece() -> None:
    there = (noise(4.0, channels=2) * 32768).round().to(torch.int16)
    found = processed(noise(4.0, 2), RATE, kept(there, (0, 4 - 1)))
    expected = (there.float() / 32768).mean(0, keepdim=True)
    assert torch.equal(found[:, : at(2)], expected[:, : at(2)])
    low = KeptSamples(audio=noise(2.0), sample_rate=RATE // 2, regions=((0, 3),), duration=4.0)
    assert processed(noise(4.0, 2), RATE, low).shape == (1, at(4))


def test_finishing_leaves_kept_samples_alone() -> None:
    loud = 4 * noise(4.0)
    piece = kept(loud, (0, 1), (3, 4))
    found = finished_and_marked(processed(2 * loud, RATE, piece), RATE, Finish(fade=0.5), piece)
    assert torch.equal(found[:, : at(1) - FADE], loud[:, : at(1) - FADE])
    assert torch.equal(found[:, at(3) + FADE :], loud[:, at(3) + FADE :])
    assert float(found[:, at(1) : at(3)].abs().max()) < 1
