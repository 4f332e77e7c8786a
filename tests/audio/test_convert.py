"""Levels, channels and rates: the original's results, and what must hold for any audio."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.audio import convert
from audiocraft.audio.convert import (
    LARGEST_FILTER,
    compress,
    convert_audio,
    convert_audio_channels,
    normalize_audio,
    normalize_loudness,
    resampler,
)
from audiocraft.audio.loudness import integrated_loudness
from audiocraft.audio.pcm import checked_samples, f32_pcm, i16_pcm
from audiocraft.errors import InvalidInput


def test_golden(golden_dir: Path) -> None:
    wav = load_file(golden_dir / "audio_utils" / "inputs.safetensors")["wav"]  # [2, 16000], peaks over 1
    expected = load_file(golden_dir / "audio_utils" / "expected" / "audio_utils.safetensors")
    ours = {
        "conv_24k_mono": convert_audio(wav[None], 16000, 24000, 1),
        "conv_11025_stereo": convert_audio(wav[None], 16000, 11025, 2),
        "mono_to_stereo": convert_audio_channels(wav[:1], 2),
        "peak": normalize_audio(wav, strategy="peak"),
        "clip": normalize_audio(wav, strategy="clip"),
        "rms": normalize_audio(wav, strategy="rms"),
        "loudness": normalize_audio(wav, strategy="loudness", sample_rate=16000),
        "loudness_comp": normalize_loudness(wav, 16000, loudness_headroom_db=10, loudness_compressor=True),
        "peak_no_norm": normalize_audio(wav * 0.01, normalize=False, strategy="peak"),
        "f32": f32_pcm((wav.clamp(-1, 1) * 32767).short()),
        "i16": i16_pcm(wav.clamp(-1, 1)).int(),
    }
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        assert value.shape == expected[name].shape, name
        largest = float(expected[name].abs().max())
        difference = float((value.double() - expected[name].double()).abs().max())
        assert difference <= (0 if name == "i16" else 5e-5 * largest), name


@pytest.mark.parametrize("rate", [16000, 22050, 32000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_loudness_agrees_with_another_meter(rate: int, channels: int, generator: torch.Generator) -> None:
    wav = _music(rate, channels, generator)
    theirs = pyloudnorm.Meter(rate).integrated_loudness(wav.double().T.numpy())
    assert float(integrated_loudness(wav, rate)) == pytest.approx(theirs, abs=0.02)


def test_loudness_of_a_batch_is_that_of_its_rows(generator: torch.Generator) -> None:
    batch = torch.stack([_music(16000, 2, generator), 0.1 * _music(16000, 2, generator)])
    rows = torch.stack([integrated_loudness(wav, 16000) for wav in batch])
    torch.testing.assert_close(integrated_loudness(batch, 16000), rows)
    assert integrated_loudness(torch.zeros(1, 16000), 16000) == -torch.inf


def test_loudness_reaches_its_target(generator: torch.Generator) -> None:
    louder = normalize_loudness(_music(32000, 2, generator) * 0.05, 32000, loudness_headroom_db=16)
    assert float(integrated_loudness(louder, 32000)) == pytest.approx(-16, abs=0.01)
    near_silence = torch.full((1, 32000), 1e-4)
    assert torch.equal(normalize_loudness(near_silence, 32000), near_silence)


@given(
    seed=st.integers(0, 1000),
    gain=st.sampled_from([0.0, 1e-6, 0.1, 1.0, 30.0]),
    strategy=st.sampled_from(["peak", "clip", "rms", "loudness"]),
)
def test_every_strategy_gives_what_a_file_can_hold(seed: int, gain: float, strategy: str) -> None:
    """Silence must not turn into undefined samples, nor loud audio into wrapped ones."""
    wav = gain * torch.randn(2, 8000, generator=torch.Generator().manual_seed(seed))
    out = normalize_audio(wav, strategy=strategy, sample_rate=16000)
    assert out.isfinite().all() and float(out.abs().amax()) <= 1
    assert out.shape == wav.shape


def test_normalisation_leaves_its_input_alone(generator: torch.Generator) -> None:
    wav = _music(16000, 2, generator) * 3
    before = wav.clone()
    for strategy in ("peak", "clip", "rms", "loudness"):
        normalize_audio(wav, strategy=strategy, sample_rate=16000)
    assert torch.equal(wav, before)


def test_clipping_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    wav = torch.zeros(1, 16000)
    wav[0, :4] = 1.0
    with caplog.at_level(logging.WARNING):
        normalize_audio(wav, strategy="rms", log_clipping=True, stem_name="drums")
    assert "clipping drums" in caplog.text


@given(values=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50))
def test_pcm_there_and_back(values: list[float]) -> None:
    wav = torch.tensor(values)[None]
    # Where +1 is reached, full scale itself is one step short of 1 and all else up to one step and a half away.
    assert float((f32_pcm(i16_pcm(wav)) - wav).abs().amax()) <= 1.5 / 2**15


def test_pcm_that_reaches_full_scale_is_the_original_s() -> None:
    """All of it is then made of 32767 steps; just below, of 32768."""
    wav = torch.tensor([1.0, 0.75, -0.75, -1.0])
    assert i16_pcm(wav).tolist() == [32767, 24575, -24575, -32767]
    assert i16_pcm(wav[1:]).tolist() == [24576, -24576, -32768]
    assert i16_pcm(torch.tensor([1 - 2**-17, 0.75])).tolist() == [32767, 24575]
    assert i16_pcm(torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize(("present", "wanted"), [(1, 1), (1, 2), (1, 6), (2, 1), (2, 2), (6, 2)])
def test_channels(present: int, wanted: int, generator: torch.Generator) -> None:
    wav = torch.randn(3, present, 100, generator=generator)
    out = convert_audio_channels(wav, wanted)
    assert out.shape == (3, wanted, 100)
    if wanted == 1:
        torch.testing.assert_close(out[:, 0], wav.mean(dim=1))
    else:
        assert torch.equal(out[:, 0], wav[:, 0])


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: convert_audio_channels(torch.zeros(2, 10), 3), "channels"),
        (lambda: convert_audio(torch.zeros(1, 10), 16000, 0, 1), "to_rate"),
        (lambda: normalize_audio(torch.zeros(1, 10), strategy="loud"), "strategy"),
        (lambda: normalize_audio(torch.zeros(1, 10), strategy="loudness"), "sample_rate"),
        (lambda: normalize_audio(torch.full((1, 10), 2.0), strategy="none"), "wav"),
        (lambda: i16_pcm(torch.full((1, 10), 1.5)), "wav"),
        (lambda: f32_pcm(torch.zeros(1, 10, dtype=torch.int64)), "wav"),
        (lambda: compress(torch.zeros(1, 1, 10), 16000, "wma"), "target_format"),
        (lambda: compress(torch.zeros(1, 1, 10), 16000, "mp3", "fast"), "bitrate"),
    ],
)
def test_mistakes_name_the_argument(call: object, field: str) -> None:
    assert callable(call)
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.field == field


def test_mp3_sounds_alike_and_keeps_the_shape(generator: torch.Generator) -> None:
    wav = torch.stack([_music(32000, 2, generator), _music(32000, 2, generator)]) * 0.5
    high, rate = compress(wav, 32000, "mp3", "256k")
    low, _ = compress(wav, 32000, "mp3", "32k")
    assert rate == 32000 and high.shape == low.shape == wav.shape
    assert _error(high, wav) < _error(low, wav) < 0.7


def _error(decoded: Tensor, wav: Tensor) -> float:
    """The relative error; a delay of the codec would show as one near 1.4."""
    return float((decoded - wav).norm() / wav.norm())


def _music(rate: int, channels: int, generator: torch.Generator) -> Tensor:
    """Two seconds of chords with a changing level -> [channels, N]"""
    time = torch.arange(2 * rate) / rate
    tones = sum(torch.sin(2 * np.pi * frequency * time) for frequency in (110.0, 440.0, 1320.0, 3520.0))
    level = 0.05 + 0.1 * torch.sin(2 * np.pi * 0.5 * time).abs()
    noise = 0.01 * torch.randn(channels, len(time), generator=generator)
    return tones * level * torch.linspace(1, 0.5, channels)[:, None] + noise


def test_a_resampler_made_while_generating_serves_training() -> None:
    wav = torch.ones(1, 1, 700, requires_grad=True)
    with torch.inference_mode():
        convert_audio(torch.ones(1, 1, 700), 7000, 9000, 1)
    convert_audio(wav, 7000, 9000, 1).sum().backward()
    assert wav.grad is not None and bool(wav.grad.any())


@pytest.mark.parametrize(
    ("name", "steps", "middle"),
    [
        ("uint8", 128, 128),
        ("int8", 128, 0),
        ("int16", 2**15, 0),
        ("int32", 2**31, 0),
        ("float16", 1, 0),
        ("float64", 1, 0),
    ],
)
def test_samples_of_any_kind_mean_the_same_sound(name: str, steps: int, middle: int) -> None:
    """Integers that were cast instead of scaled were 32,768 times too loud, without a word."""
    wanted = torch.tensor([[0.0, 0.5, -0.25, -1.0]])
    given = (wanted.double() * steps + middle).to(getattr(torch, name))
    for samples in (given, given) if name == "bfloat16" else (given, given.numpy()):
        torch.testing.assert_close(f32_pcm(samples), wanted, rtol=0, atol=0)
        torch.testing.assert_close(checked_samples(samples, "wav"), wanted, rtol=0, atol=0)
    assert torch.equal(convert_audio(given, 8000, 8000, 1).float(), wanted)


@pytest.mark.parametrize("rate", [44056, 22255, 11127, 7777, 44101, 46722, 191999])
def test_rates_without_a_common_factor_cost_no_more_than_others(rate: int) -> None:
    """The filter between 44,101 and 24,000 Hz would hold a thousand million numbers: seconds, and 4 GB that stay."""
    time = torch.arange(rate // 2).double() / rate

    def tone(at: Tensor) -> Tensor:
        return sum(
            (0.3 * torch.sin(2 * torch.pi * pitch * at) for pitch in (220, 1000, 3000)), torch.zeros(1)
        )

    wav = torch.stack([tone(time), -tone(time)]).float()[None]
    made = convert_audio(wav, rate, 24000, 2)
    assert made.shape == (1, 2, wav.shape[-1] * 24000 // rate)
    inner = slice(200, -200)  # beyond the ends there is silence, which rings
    expected = tone(torch.arange(made.shape[-1]).double() / 24000).float()
    torch.testing.assert_close(made[0, 0, inner], expected[inner], rtol=0, atol=1e-3)
    torch.testing.assert_close(made[0, 1], -made[0, 0])
    assert resampler.cache_info().maxsize * LARGEST_FILTER * 4 <= 2**27  # what is kept


def test_both_resamplers_agree(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    wav = _music(44100, 2, generator)
    ours = convert_audio(wav, 44100, 24000, 2)
    monkeypatch.setattr(convert, "LARGEST_FILTER", 0)
    theirs = convert_audio(wav, 44100, 24000, 2)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).norm() / ours.norm()) < 0.01
    with pytest.raises(InvalidInput, match="gradients"):
        convert_audio(wav.requires_grad_(), 44100, 24000, 2)
    assert convert_audio(wav.detach()[:, :0], 44100, 24000, 2).shape == (2, 0)


def test_surround_sound_is_as_loud_as_its_channels() -> None:
    """5.1 weighs the surround pair more and leaves the low frequencies out; numbers without a meaning are refused."""
    noise = 0.1 * torch.randn(1, 2 * 24000, generator=torch.Generator().manual_seed(0))
    mono = integrated_loudness(noise, 24000)

    def louder(channel: int, count: int) -> float:
        wav = torch.zeros(count, noise.shape[-1])
        wav[channel] = noise[0]
        return float(integrated_loudness(wav, 24000) - mono)

    assert [round(louder(channel, 6), 2) for channel in (0, 1, 2, 4, 5)] == [0, 0, 0, 1.49, 1.49]
    assert louder(3, 6) == -math.inf
    assert [round(louder(channel, 8), 2) for channel in (4, 7)] == [0, 1.49]
    assert round(louder(4, 5), 2) == 1.49
    with pytest.raises(InvalidInput, match="7 channels"):
        integrated_loudness(noise.expand(7, -1), 24000)
