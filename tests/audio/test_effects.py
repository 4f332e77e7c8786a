"""Effects: what they do to time, to gradients and to the mask, and how they are chosen."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.utils.audio_effects import (
    AudioEffects,
    audio_effect_return,
    compress_with_encodec,
    generate_pink_noise,
    get_audio_effects,
    select_audio_effects,
)

RATE, LENGTH = 16000, 16000
CODECS = {"aac_compression"}  # needs an extra
KEEP_TIME = [
    name
    for name in vars(AudioEffects)
    if not name.startswith("_") and name not in {*CODECS, "speed", "crop", "identity"}
]


def sound(generator: torch.Generator) -> torch.Tensor:
    time = torch.arange(LENGTH) / RATE
    tones = torch.sin(2 * torch.pi * 440 * time) + torch.sin(2 * torch.pi * 1200 * time)
    return 0.1 * tones + 0.02 * torch.randn(2, 1, LENGTH, generator=generator)


@pytest.mark.parametrize("name", KEEP_TIME)
def test_shape_mask_and_gradient(name: str, generator: torch.Generator) -> None:
    wav, mask = sound(generator).requires_grad_(), torch.ones(2, 1, LENGTH)
    changed, same = getattr(AudioEffects, name)(wav, mask=mask)
    assert changed.shape == wav.shape and torch.equal(same, mask)
    assert not torch.equal(changed, wav) and torch.isfinite(changed).all()
    changed.sum().backward()
    assert wav.grad is not None and bool(wav.grad.any())


def test_identity_and_what_effects_return(generator: torch.Generator) -> None:
    wav, mask = sound(generator), torch.ones(2, 1, LENGTH)
    assert AudioEffects.identity(wav) is wav
    assert AudioEffects.identity(wav, mask) == (wav, mask)
    assert audio_effect_return(wav, None) is wav


@pytest.mark.parametrize("name", ["speed", "crop"])
def test_effects_on_time_change_the_mask_too(name: str, generator: torch.Generator) -> None:
    wav = sound(generator)
    mask = (torch.arange(LENGTH) < LENGTH // 2).float().expand(2, 1, -1)
    changed, here = getattr(AudioEffects, name)(wav, mask=mask)
    assert changed.shape[-1] == here.shape[-1] != LENGTH
    assert set(here.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("lowpass_filter", 1.0, 0.0), ("highpass_filter", 0.0, 1.0)],
)
def test_filters_pass_what_they_should(name: str, low: float, high: float) -> None:
    time = torch.arange(LENGTH) / RATE
    for hertz, kept in ((200, low), (3000, high)):
        wav = torch.sin(2 * torch.pi * hertz * time)[None, None]
        through = getattr(AudioEffects, name)(wav, cutoff_freq=900, sample_rate=RATE)
        assert float(through.std() / wav.std()) == pytest.approx(kept, abs=0.02)


def test_levels_in_percent(generator: torch.Generator) -> None:
    wav = sound(generator)
    torch.testing.assert_close(AudioEffects.boost_audio(wav, 50), 1.5 * wav)
    torch.testing.assert_close(AudioEffects.duck_audio(wav, 50), 0.5 * wav)


def test_noise_lies_where_it_is_asked_for(generator: torch.Generator) -> None:
    wav = sound(generator)
    noise = AudioEffects.noise_below(wav, (20.0, 20.0)) - wav
    ratio = 20 * torch.log10(wav.std(-1) / noise.std(-1))
    torch.testing.assert_close(ratio, torch.full_like(ratio, 20.0), rtol=0, atol=0.5)


def test_pink_noise_falls_by_three_decibels_an_octave() -> None:
    power = torch.fft.rfft(generate_pink_noise(1 << 16)).abs().square()
    octaves = [float(power[1 << k : 2 << k].mean().log2()) for k in range(6, 15)]
    assert all(-1.5 < after - before < -0.5 for before, after in itertools.pairwise(octaves))


def test_a_codec_without_gradient_passes_it_on(generator: torch.Generator) -> None:
    class Codec:
        sample_rate, channels = 24000, 1

        def encode(self, wav: torch.Tensor) -> tuple[torch.Tensor, None]:
            return wav[:, None, 0], None

        def decode(self, codes: torch.Tensor, scale: None) -> torch.Tensor:
            return 0.5 * codes[:, 0, None]

    wav = sound(generator).requires_grad_()
    made = compress_with_encodec(wav, 1, Codec(), RATE)
    assert made.shape == wav.shape
    assert float((made.std() / wav.std()).detach()) == pytest.approx(0.5, abs=0.05)


def test_effects_of_a_configuration() -> None:
    effects = get_audio_effects(
        SimpleNamespace(audio_effects={"boost_audio": {"amount": 100}, "identity": {}})
    )
    assert list(effects) == ["boost_audio", "identity"]
    assert float(effects["boost_audio"](torch.ones(1, 1, 1))) == 2.0
    assert get_audio_effects({}) == {}
    with pytest.raises(InvalidInput, match=r"audio_effects\.boots_audio is no effect"):
        get_audio_effects({"audio_effects": {"boots_audio": {}}})


def test_choosing() -> None:
    effects = dict.fromkeys("abcdef", AudioEffects.identity)
    assert list(select_audio_effects(effects)) == list("abcdef")
    assert len(select_audio_effects(effects, max_length=2)) == 2
    assert list(select_audio_effects({})) == ["identity"]
    never = dict.fromkeys("abcde", 0.0)
    assert list(select_audio_effects(effects, never, mode="weighted", max_length=3)) == ["f"]
    assert list(select_audio_effects(effects, never, mode="weighted")) == ["f"]
    with pytest.raises(ValueError, match="Unknown"):
        select_audio_effects(effects, mode="seldom")
