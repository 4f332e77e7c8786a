"""The mixing desk against known answers: cookbook responses, the static curve of a compressor, BS.1770 meters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiocraft.audio import mixing
from audiocraft.audio.loudness import integrated_loudness
from audiocraft.audio.mixing import EqualiserBand, Track
from audiocraft.errors import InvalidInput

RATE = 16000


def tone(frequency: float, seconds: float = 1.0, level_db: float = -6.0, rate: int = RATE) -> Tensor:
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (10 ** (level_db / 20) * torch.sin(2 * math.pi * frequency * time)).float()[None]


def level_db(wav: Tensor) -> float:
    return 10 * math.log10(float(wav.double().square().mean()) * 2 + 1e-20)


@pytest.mark.parametrize(
    ("band", "expected"),
    [
        (EqualiserBand(kind="peak", frequency=1000, gain_db=6, q=1), {1000: 6.0, 50: 0.0}),
        (EqualiserBand(kind="peak", frequency=1000, gain_db=-9, q=4), {1000: -9.0, 4000: 0.0}),
        (EqualiserBand(kind="low_shelf", frequency=500, gain_db=8), {20: 8.0, 500: 4.0, 6000: 0.0}),
        (EqualiserBand(kind="high_shelf", frequency=2000, gain_db=-6), {50: 0.0, 2000: -3.0, 7900: -6.0}),
        (EqualiserBand(kind="low_cut", frequency=200), {200: -3.01, 20: -40.0, 4000: 0.0}),
        (EqualiserBand(kind="high_cut", frequency=2000), {2000: -3.01, 50: 0.0}),
    ],
    ids=lambda value: value.kind if isinstance(value, EqualiserBand) else "",
)
def test_a_band_turns_a_tone_up_as_the_cookbook_says(band: EqualiserBand, expected: dict[int, float]) -> None:
    for frequency, wanted in expected.items():
        assert mixing.band_gain_db([band], RATE, frequency) == pytest.approx(wanted, abs=0.15)
        heard = mixing.equalise(tone(frequency, 2.0), RATE, [band])[:, RATE // 2 : 3 * RATE // 2]
        assert level_db(heard) - level_db(tone(frequency)) == pytest.approx(wanted, abs=0.3)


def test_an_equaliser_equals_the_recursive_filter() -> None:
    signal = pytest.importorskip("scipy.signal")
    noise = torch.randn(2, 4000, generator=torch.Generator().manual_seed(1))
    for kind in ("peak", "low_shelf", "high_shelf", "low_cut", "high_cut"):
        band = EqualiserBand(kind=kind, frequency=700, gain_db=5, q=0.9)  # type: ignore[arg-type]
        b, a = mixing._biquad(band, RATE)
        expected = signal.lfilter(b, a, noise.double().numpy())
        np.testing.assert_allclose(mixing.equalise(noise, RATE, [band]).numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(("wanted", "peak_db"), [(-23.0, None), (-9.0, None), (-9.0, -6.0), (-30.0, -6.0)])
def test_audio_gets_the_loudness_that_is_asked_for_as_far_as_its_peak_allows(
    wanted: float, peak_db: float | None
) -> None:
    """A tone whose peak is A dB measures about A - 3 LUFS, so that -9 LUFS needs a peak above -6 dB."""
    made = mixing.at_loudness(tone(1000), RATE, wanted, peak_db=peak_db)
    highest = 20 * math.log10(float(made.abs().amax()))
    if peak_db is None or wanted < -20:
        assert float(integrated_loudness(made, RATE)) == pytest.approx(wanted, abs=0.01)
    else:
        assert highest == pytest.approx(peak_db, abs=0.01)
    silence = torch.zeros(2, RATE)
    assert torch.equal(mixing.at_loudness(silence, RATE, wanted, peak_db=peak_db), silence)


@pytest.mark.parametrize("level", [-40.0, -20.0, -12.0, -6.0, 0.0])
def test_a_compressor_has_the_static_curve_that_it_says(level: float) -> None:
    settings = {"threshold_db": -20.0, "ratio": 4.0, "knee_db": 0.0}
    squared = torch.full((2, RATE), 10 ** (level / 20))
    heard = mixing.compress(squared, RATE, **settings)[:, -100:]  # type: ignore[arg-type]
    expected = level if level < -20 else -20 + (level + 20) / 4
    assert 20 * math.log10(float(heard.abs().mean())) == pytest.approx(expected, abs=0.05)


def test_a_compressor_turns_both_channels_down_together_and_leaves_what_is_soft() -> None:
    loud, soft = tone(100, level_db=0), tone(300, level_db=-40)
    wav = torch.cat([loud, soft])
    heard = mixing.compress(wav, RATE, threshold_db=-12, ratio=3)
    share = heard[1] / wav[1].where(wav[1].abs() > 1e-3, torch.ones(()))
    assert float(share[RATE // 2 :].max()) < 0.6
    assert torch.equal(mixing.compress(soft, RATE, threshold_db=-12, ratio=3), soft)


def test_ducking_reaches_its_depth_when_the_voice_begins_and_is_gone_after_the_release() -> None:
    bed = torch.ones(1, 10 * RATE)
    heard = mixing.duck(bed, RATE, [(2, 3), (3.2, 4), (8, 9)], depth_db=15, attack=0.2, release=0.5)
    level = 20 * heard[0].log10()
    for second, expected in ((1.7, 0.0), (2.0, -15.0), (3.1, -15.0), (4.0, -15.0), (4.6, 0.0), (8.5, -15.0)):
        assert float(level[round(second * RATE)]) == pytest.approx(expected, abs=0.01)


@given(position=st.floats(-1, 1))
def test_panning_keeps_the_power_of_one_channel(position: float) -> None:
    wav = torch.ones(1, 4)
    assert float(mixing.pan(wav, position).square().sum(dim=0)[0]) == pytest.approx(1, abs=1e-5)


def test_stereo_in_the_middle_stays_as_it_is() -> None:
    wav = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(mixing.pan(wav, 0.0), wav)
    assert float(mixing.pan(wav, 1.0)[0].abs().max()) < 1e-6


def test_a_cross_fade_of_noises_keeps_their_power() -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.randn(1, 3 * RATE, generator=generator) for _ in range(2))
    joined = mixing.crossfade(first, second, RATE)
    assert joined.shape[-1] == 5 * RATE
    assert torch.equal(joined[:, : 2 * RATE], first[:, : 2 * RATE])
    assert float(joined[:, 2 * RATE : 3 * RATE].square().mean()) == pytest.approx(1, abs=0.05)


def test_the_mix_is_the_sum_of_its_tracks() -> None:
    generator = torch.Generator().manual_seed(4)
    parts = [torch.randn(1, 500, generator=generator) for _ in range(4)]
    tracks = [Track(audio=part, at=index * 0.01) for index, part in enumerate(parts)]
    total = torch.zeros(1, 500 + 3 * 160)
    for index, part in enumerate(parts):
        total[:, index * 160 : index * 160 + 500] += part
    assert torch.allclose(mixing.mix(tracks, RATE), total, atol=1e-6)
    assert mixing.mix([Track(audio=parts[0], pan=-1)], RATE).shape[0] == 2
    assert mixing.mix(tracks, RATE, seconds=0.02).shape[-1] == 320


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("wanted", [-14.0, -16.0, -19.0, -23.0])
def test_a_master_is_as_loud_as_was_asked_by_an_independent_meter(wanted: float, channels: int) -> None:
    meter = pytest.importorskip("pyloudnorm").Meter(RATE)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(channels, 4 * RATE, generator=generator) * 0.05
    noise[:, ::4000] *= 12  # peaks that need the limiter
    made = mixing.master(noise, RATE, loudness=wanted)
    assert made.loudness == pytest.approx(wanted, abs=0.1)
    assert meter.integrated_loudness(made.audio.T.double().numpy()) == pytest.approx(wanted, abs=0.3)
    assert made.true_peak <= -1.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda wav: mixing.gain(wav, math.nan), "nan"),
        (lambda wav: mixing.pan(wav, 2.0), "between -1"),
        (lambda wav: mixing.pan(wav.expand(3, -1), 0.0), "got 3"),
        (lambda wav: mixing.equalise(wav, RATE, [EqualiserBand(kind="peak", frequency=9000)]), "9000"),
        (
            lambda wav: mixing.equalise(wav, RATE, [EqualiserBand(kind="peak", frequency=900, q=0)]),
            "q of a band",
        ),
        (lambda wav: mixing.compress(wav, RATE, threshold_db=-9, ratio=0.5), "ratio"),
        (lambda wav: mixing.automate(wav, RATE, [(1, 0), (0, 0)]), "order of time"),
        (lambda wav: mixing.duck(wav, RATE, [(0, 1)], depth_db=-1), "depth"),
        (lambda wav: mixing.crossfade(wav, wav, 10**9), "does not fit"),
        (lambda _wav: mixing.mix([], RATE), "nothing to mix"),
        (lambda wav: mixing.mix([Track(audio=wav, at=-1)], RATE), "before the mix"),
        (lambda wav: mixing.master(wav * 0, RATE), "silent"),
        (lambda wav: mixing.master(wav, RATE, loudness=0), "-70 and -5"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(call: object, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        call(tone(440))  # type: ignore[operator]
