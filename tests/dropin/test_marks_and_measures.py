"""Scripts that use the original's watermark, its effects and its measures of speech, by its names and arguments."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from audiocraft.errors import InvalidInput
from audiocraft.metrics.pesq import PesqMetric
from audiocraft.models.builders import get_watermark_model
from audiocraft.models.watermark import AudioSeal, WMModel
from audiocraft.utils.audio_effects import (
    AudioEffects,
    audio_effect_return,
    compress_with_encodec,
    get_audio_effects,
    select_audio_effects,
)

RATE = 16000
PARAMETERS = {
    "speed": ("tensor", "speed_range", "sample_rate", "mask"),
    "updownresample": ("tensor", "sample_rate", "intermediate_freq", "mask"),
    "echo": ("tensor", "volume_range", "duration_range", "sample_rate", "mask"),
    "random_noise": ("waveform", "noise_std", "mask"),
    "pink_noise": ("waveform", "noise_std", "mask"),
    "lowpass_filter": ("waveform", "cutoff_freq", "sample_rate", "mask"),
    "highpass_filter": ("waveform", "cutoff_freq", "sample_rate", "mask"),
    "bandpass_filter": ("waveform", "cutoff_freq_low", "cutoff_freq_high", "sample_rate", "mask"),
    "smooth": ("tensor", "window_size_range", "mask"),
    "boost_audio": ("tensor", "amount", "mask"),
    "duck_audio": ("tensor", "amount", "mask"),
    "identity": ("tensor", "mask"),
    "mp3_compression": ("tensor", "sample_rate", "bitrate", "mask"),
    "aac_compression": ("tensor", "sample_rate", "bitrate", "lowpass_freq", "mask"),
}


def marks(nbits: int) -> WMModel:
    """Small networks of the paper, of an OmegaConf tree as a run has it."""
    tree = OmegaConf.create(
        {
            "audioseal": {"autoencoder": "seanet", "nbits": nbits, "sample_rate": RATE, "channels": 1},
            "seanet": {"dimension": 8, "n_filters": 2, "n_residual_layers": 1, "norm": "none"},
            "detector": {"output_dim": 4},
        }
    )
    model = get_watermark_model(tree)
    model.eval()
    return model


@pytest.mark.parametrize("nbits", [0, 1, 16])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_mark_is_as_long_as_the_audio_and_the_detector_says_what_it_hears(nbits: int, rows: int) -> None:
    model = marks(nbits)
    wav = 0.1 * torch.randn(rows, 1, 1999)
    message = torch.randint(0, 2, (rows, nbits)) if nbits else None
    mark = model.get_watermark(wav, message=message)
    assert mark.shape == wav.shape
    assert isinstance(model, AudioSeal)
    assert torch.allclose(model(wav, message=message, alpha=0.5), wav + 0.5 * mark, atol=1e-6)
    heard = model.detect_watermark(wav + mark)
    assert heard.shape == (rows, 2 + nbits, wav.shape[-1])
    assert torch.allclose(heard[:, :2].sum(1), torch.ones(rows, wav.shape[-1]), atol=1e-5)


def test_gradients_reach_both_halves_of_a_watermark() -> None:
    model = marks(16)
    wav = 0.1 * torch.randn(2, 1, 1600)
    decided = model.detect_watermark(model(wav, message=torch.randint(0, 2, (2, 16))))
    decided.mean().backward()
    for half in (model.generator, model.detector):
        assert any(one.grad is not None and bool(one.grad.any()) for one in half.parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_effects_have_the_names_and_arguments_of_the_original(name: str) -> None:
    found = inspect.signature(getattr(AudioEffects, name)).parameters
    assert tuple(found) == PARAMETERS[name]
    assert all(one.default is not inspect.Parameter.empty for one in list(found.values())[1:])


@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {"aac_compression"}))
def test_an_effect_gives_audio_and_with_a_mask_both(name: str) -> None:
    wav = 0.1 * torch.randn(2, 1, RATE)
    alone = getattr(AudioEffects, name)(wav)
    assert isinstance(alone, torch.Tensor) and alone.shape[:2] == wav.shape[:2]
    changed, mask = getattr(AudioEffects, name)(wav, mask=torch.ones_like(wav))
    assert changed.shape == mask.shape
    if name != "speed":
        assert changed.shape == wav.shape


def test_effects_of_a_run_are_read_of_its_configuration() -> None:
    cfg = OmegaConf.create(
        {
            "audio_effects": {
                "speed": {"speed_range": [0.8, 0.8]},
                "boost_audio": {"amount": 50},
                "identity": {},
            }
        }
    )
    effects = get_audio_effects(cfg)
    wav = 0.1 * torch.randn(1, 1, RATE)
    assert effects["speed"](wav).shape[-1] == pytest.approx(RATE / 0.8, rel=0.01)
    assert torch.allclose(effects["boost_audio"](wav), 1.5 * wav)
    assert torch.equal(effects["identity"](wav), wav)
    assert set(select_audio_effects(effects, mode="all")) == set(effects)
    few = select_audio_effects(effects, weights={"identity": 1.0}, mode="weighted", max_length=1)
    assert len(few) == 1
    with pytest.raises(InvalidInput, match="Unknown mode"):
        select_audio_effects(effects, mode="some")


def test_what_an_effect_returns_depends_on_the_mask() -> None:
    wav = torch.randn(1, 1, 10)
    assert audio_effect_return(tensor=wav, mask=None) is wav
    assert isinstance(audio_effect_return(tensor=wav, mask=wav), tuple)


def test_a_neural_codec_is_an_effect() -> None:
    from audiocraft.models.loaders import load_compression_model

    codec = load_compression_model("nano")
    wav = (0.1 * torch.randn(2, 1, RATE // 2)).requires_grad_()
    changed = compress_with_encodec(wav, n_q=2, model=codec, sample_rate=RATE)
    assert changed.shape == wav.shape and not torch.equal(changed, wav)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the package `pesq` is asked, in its place: it gives its highest value for equal sounds."""
    calls: list[tuple[Any, ...]] = []
    package = ModuleType("pesq")

    class NoUtterancesError(Exception):
        pass

    class BufferTooShortError(Exception):
        pass

    def pesq(rate: int, reference: Any, heard: Any, mode: str = "wb") -> float:
        calls.append((rate, reference, heard, mode))
        return 4.64 if np.array_equal(reference, heard) else 2.0

    package.pesq = pesq  # type: ignore[attr-defined]
    package.NoUtterancesError, package.BufferTooShortError = NoUtterancesError, BufferTooShortError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pesq", package)
    return calls


@pytest.mark.parametrize("rate", [16000, 32000])
@pytest.mark.parametrize("channels", [1, 2])
def test_equal_sounds_have_the_best_pesq_at_any_rate(
    asked: list[tuple[Any, ...]], rate: int, channels: int
) -> None:
    metric = PesqMetric(sample_rate=rate)
    wav = 0.1 * torch.randn(2, channels, rate)
    metric.update(wav, wav)
    assert float(metric.compute()) == pytest.approx(4.64)
    assert [(call[0], call[1].shape, call[3]) for call in asked] == [(16000, (16000,), "wb")] * 2
    metric.update(preds=wav.flip(-1), targets=wav)
    assert 2.0 < float(metric.compute()) < 4.64
    assert not np.array_equal(asked[-1][1], asked[-1][2])
    metric.reset()
    metric.update(wav, wav)
    assert float(metric.compute()) == pytest.approx(4.64)
