"""Reconstruction losses: parity with the original, and the properties that training relies on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from audiocraft.errors import ConfigError
from audiocraft.losses import (
    SISNR,
    MelSpectrogramL1Loss,
    MRSTFTLoss,
    MultiScaleMelSpectrogramLoss,
    STFTLoss,
)

from ..roundings import spread

LOSSES = {
    "mel": MelSpectrogramL1Loss(16000, n_fft=512, hop_length=128, win_length=512, n_mels=40, f_min=64.0),
    "msspec": MultiScaleMelSpectrogramLoss(16000, range_start=7, range_end=11, n_mels=32),
    "mrstft": MRSTFTLoss(),
    "mrstft2": MRSTFTLoss(factor_sc=0.5, factor_mag=0.3),
    "stft": STFTLoss(),
    "sisnr": SISNR(sample_rate=16000, segment=0.5, overlap=0.5),
    "sisnr20": SISNR(),
}
JUMPY = {"msspec", "mrstft", "mrstft2", "stft"}
"""Losses with gradients that rounding errors decide in places."""


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.detach() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", LOSSES)
def test_golden(name: str, golden_dir: Path) -> None:
    """The gradient of a log magnitude is one over it, and that of a distance jumps where the two are equal: samples in
    the reach of a bin that is nearly silent, or nearly right, have gradients that are rounding errors. The others
    agree with the recorded ones."""
    inputs = load_file(golden_dir / "losses/inputs.safetensors")
    expected = load_file(golden_dir / "losses/expected/losses.safetensors")
    wav = inputs["x"].requires_grad_(True)

    def gradient() -> Tensor:
        return torch.autograd.grad(LOSSES[name](wav, inputs["y"]).sum(), wav)[0]

    loss, wanted = LOSSES[name](wav, inputs["y"]), expected[f"{name}.grad"]
    assert loss.shape == expected[name].shape
    assert relative_error(loss, expected[name]) < 5e-5
    firm, tolerance = torch.ones(()), 1e-3
    if name in JUMPY:
        firm, tolerance = spread(gradient) < 1e-4 * wanted.abs().max(), 3e-3
        assert firm.float().mean() > 0.4
    assert relative_error(gradient() * firm, wanted * firm) < tolerance


@pytest.mark.parametrize("loss", [loss for name, loss in LOSSES.items() if "sisnr" not in name])
def test_equal_sounds_lose_nothing(loss: nn.Module, generator: torch.Generator) -> None:
    wav = torch.randn(2, 1, 8000, generator=generator)
    assert float(loss(wav, wav)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_more_noise_loses_more(name: str, generator: torch.Generator) -> None:
    wav = torch.randn(1, 1, 16000, generator=generator)
    noise = torch.randn(1, 1, 16000, generator=generator)
    values = [float(LOSSES[name](wav + level * noise, wav)) for level in (0.05, 0.2, 0.8)]
    assert values == sorted(values)


@pytest.mark.parametrize("segment", [None, 0.1])
def test_sisnr_ignores_the_level(segment: float | None, generator: torch.Generator) -> None:
    """Also without segments, where the original fails."""
    reference = torch.randn(2, 1, 4000, generator=generator)
    estimate = reference + 0.1 * torch.randn(2, 1, 4000, generator=generator)
    loss = SISNR(16000, segment=segment)
    assert float(loss(estimate, reference)) == pytest.approx(-20, abs=1)
    assert float(loss(3 * estimate, reference)) == pytest.approx(float(loss(estimate, reference)), abs=1e-2)


@pytest.mark.parametrize("length", [1, 63, 512, 1000])
def test_mel_losses_take_any_length(length: int, generator: torch.Generator) -> None:
    wav = torch.randn(1, 2, length, generator=generator)
    for loss in (LOSSES["mel"], LOSSES["msspec"]):
        assert torch.isfinite(loss(wav, 0 * wav))


@pytest.mark.parametrize("loss", [LOSSES["mel"], LOSSES["msspec"], LOSSES["mrstft"]])
def test_silence_has_finite_gradients(loss: nn.Module) -> None:
    wav = torch.zeros(1, 1, 8000, requires_grad=True)
    loss(wav, torch.zeros(1, 1, 8000)).sum().backward()
    assert wav.grad is not None and torch.isfinite(wav.grad).all()


def test_constants_stay_out_of_checkpoints() -> None:
    assert not any(loss.state_dict() for loss in LOSSES.values())


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="equally long"):
        MRSTFTLoss(n_ffts=(512,))
    with pytest.raises(ConfigError, match="window"):
        STFTLoss(window="hann")
    with pytest.raises(ConfigError, match="range_end"):
        MultiScaleMelSpectrogramLoss(16000, range_start=6, range_end=6)
