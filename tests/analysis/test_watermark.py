"""Listening for the message that is expected: found in pieces as in the whole, and by chance as rarely as is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiocraft.analysis.watermark import AGREES, WatermarkReport, find_watermark
from audiocraft.audio.convert import convert_audio
from audiocraft.config.decode import decode
from audiocraft.config.limits import PROVENANCE
from audiocraft.config.watermark import WatermarkConfig
from audiocraft.models.loaders import load_audioseal_models
from audiocraft.models.watermark import AudioSeal, build_watermark
from audiocraft.models.watermarks.modulation import ModulationDetector
from audiocraft.models.watermarks.provenance import message_bits

RATE = 16000


@pytest.fixture(scope="module")
def watermark() -> AudioSeal:
    model = load_audioseal_models(PROVENANCE)
    assert isinstance(model, AudioSeal)
    return model


def noise(seconds: float) -> torch.Tensor:
    return torch.rand(1, 1, round(seconds * RATE), generator=torch.Generator().manual_seed(2)) - 0.5


def untrained(*, fitted: bool = False) -> ModulationDetector:
    tree = {"audioseal": {"autoencoder": "modulation", "nbits": 16}, "modulation": {"fitted": fitted}}
    detector = build_watermark(decode(WatermarkConfig, tree)).detector
    assert isinstance(detector, ModulationDetector)
    return detector


@torch.inference_mode()
def test_our_message_is_ours_and_another_is_not(watermark: AudioSeal) -> None:
    ours = message_bits(16)
    assert ours is not None
    other = 1 - ours
    other[:8] = ours[:8]
    marked, elsewhere = (watermark(noise(2.0), message=bits)[0] for bits in (ours, other))
    found = find_watermark(watermark, marked.split(3001, dim=-1), RATE)
    assert found.marked and found.ours and found.share == 1 and found.message == "1010110000110101"
    assert not find_watermark(watermark, [elsewhere], RATE).ours
    assert not find_watermark(watermark, [noise(2.0)[0]], RATE).marked


@torch.inference_mode()
@pytest.mark.parametrize("speed", [0.95, 1.033, 1.05])
def test_a_mark_that_is_played_faster_or_slower_is_found(watermark: AudioSeal, speed: float) -> None:
    ours, there = message_bits(16), noise(6.0)
    assert ours is not None
    changed = [
        convert_audio(wav, round(RATE * speed), RATE, 1)
        for wav in (watermark(there, message=ours)[0], watermark(there, message=1 - ours)[0], there[0])
    ]
    found, other, clean = (find_watermark(watermark, wav.split(5001, dim=-1), RATE) for wav in changed)
    assert found.ours and found.marked and found.speed == pytest.approx(speed, abs=0.01)
    assert not other.ours and not clean.marked and clean.speed == 1


@torch.inference_mode()
def test_responses_in_pieces_are_those_of_the_whole(watermark: AudioSeal) -> None:
    detector, wav = watermark.detector, noise(1.3)[0]
    assert isinstance(detector, ModulationDetector)
    bands = detector.bands
    whole = detector.responses(bands.levels(bands.spectra(bands.padded(wav))))
    stream = detector.open_responses(1)
    parts = [stream.push(part) for part in wav.split(1777, dim=-1)]
    parts.append(stream.finish())
    for at in range(2):
        joined = torch.cat([part[at] for part in parts], dim=-1)
        assert torch.allclose(joined, whole[at], atol=1e-3, rtol=1e-3)


def test_chance_agrees_as_often_as_is_said() -> None:
    detector, draws = untrained(), torch.Generator().manual_seed(1)
    bits = message_bits(16)
    assert bits is not None
    shown = torch.randn(20_000, 17, dtype=torch.complex128, generator=draws)
    shown = shown * 10 ** torch.rand(
        20_000, 1, generator=draws, dtype=torch.float64
    )  # however loud the host is
    found = detector.agreement(shown, torch.ones(20_000, 17), bits)
    for limit in (0.1, 0.2, 0.3):
        assert float((found > limit).double().mean()) == pytest.approx((1 - limit) ** 16, rel=0.2)


def test_a_fit_finds_weaker_marks() -> None:
    """Of patterns that leak into each other and of which some are moved by every host."""
    detector, draws = untrained(fitted=True), torch.Generator().manual_seed(1)
    mixing = torch.eye(17) + 0.25 * torch.randn(17, 17, generator=draws)
    loud = torch.linspace(0.3, 3, 17)
    messages = torch.randint(0, 2, (3000, 16), generator=draws)
    ours = message_bits(16)
    assert ours is not None

    def hosts(count: int) -> torch.Tensor:
        return loud * torch.randn(count, 17, dtype=torch.complex64, generator=draws)

    def marks(bits: torch.Tensor) -> torch.Tensor:
        signs = torch.cat([torch.ones(len(bits), 1), 2 * bits - 1], dim=1) @ mixing.T
        angle = 6.28 * torch.rand(len(bits), 1, generator=draws)
        return hosts(len(bits)) + torch.polar(torch.ones_like(angle), angle) * signs

    def found(shown: torch.Tensor) -> float:
        return float((detector.agreement(shown, torch.ones(len(shown), 17), ours) > AGREES).double().mean())

    tried, untouched = marks(ours.expand(500, -1)), hosts(5000)
    before = found(tried)
    ones = torch.ones(len(messages), 17)
    detector.fit((marks(messages), ones), messages, (hosts(3000), ones))
    assert found(tried) > before + 0.3
    assert found(untouched) < 0.002


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        (
            (0.285, 0.577),
            (False, False),
        ),  # one second of two is no half of the audio where chance does as much
        ((0.9, 0.6), (True, True)),
        ((0.8, 0.05), (True, False)),
        ((0.05, 0.6, 0.05, 0.05), (False,) * 4),
        ((0.05, 0.97, 0.05, 0.05), (False, True, False, False)),
        ((0.6,), (True,)),
    ],
)
def test_a_second_that_is_unsure_needs_its_neighbours(
    seconds: tuple[float, ...], found: tuple[bool, ...]
) -> None:
    count = len(seconds)
    report = WatermarkReport(duration=float(count), seconds=seconds, audible=(True,) * count, bits=None)
    assert report.found == found and report.marked == (2 * sum(found) >= count)
    agreed = WatermarkReport(
        duration=float(count), seconds=seconds, audible=(True,) * count, bits=None, agreement=(0.6,) * count
    )
    assert all(agreed.found)


@torch.inference_mode()
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_noise_at_any_rate_is_not_marked_until_it_is(watermark: AudioSeal, rate: int) -> None:
    """Of another message than ours, so that only the network can tell."""
    ours = message_bits(16)
    assert ours is not None
    for seed in range(6):
        draw = np.random.default_rng(seed).normal(0, 0.1, 2 * rate)
        clean = torch.tensor(draw, dtype=torch.float32)[None, None]
        assert not find_watermark(watermark, [clean[0]], rate).marked
        other = ours.roll(1 + seed)
        report = find_watermark(watermark, [watermark(clean, sample_rate=rate, message=other)[0]], rate)
        assert report.marked and report.share == 1
