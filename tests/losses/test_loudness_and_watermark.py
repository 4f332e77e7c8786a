"""Loudness and watermark losses: parity with the original and behaviour at the edges."""

from __future__ import annotations

from pathlib import Path

import pyloudnorm
import pytest
import torch
from safetensors.torch import load_file

from audiocraft.losses import TFLoudnessRatio, WMDetectionLoss, WMMbLoss
from audiocraft.losses.loudnessloss import (
    FLoudnessRatio,
    TLoudnessRatio,
    basic_loudness,
    integrated_loudness,
)


def test_loudness_golden(golden_dir: Path) -> None:
    inputs = load_file(golden_dir / "losses/inputs.safetensors")
    expected = load_file(golden_dir / "losses/expected/loudness_losses.safetensors")
    wav, error = inputs["x"][..., :12000], inputs["y"][..., :12000] * 0.3
    found = {
        "F": FLoudnessRatio(sample_rate=16000, n_bands=4)(error, wav),
        "T": TLoudnessRatio(sample_rate=16000, segment=0.5)(error[:1], wav[:1]),
        "TF": TFLoudnessRatio(sample_rate=16000, segment=0.5, n_bands=4)(error, wav),
        "TF_temp": TFLoudnessRatio(16000, segment=0.5, overlap=0.25, n_bands=8, temperature=0.3)(error, wav),
        "basic_loudness": basic_loudness(inputs["x"], 16000),
    }
    for name, value in found.items():
        torch.testing.assert_close(
            value, expected[name], rtol=1e-4, atol=1e-4 * float(expected[name].abs().max())
        )


def test_integrated_loudness_is_the_standard_one(generator: torch.Generator) -> None:
    """pyloudnorm uses the standard's filters, which differ a little from ours away from 48 kHz."""
    wav = 0.1 * torch.randn(1, 48000 * 2, generator=generator)
    meter = pyloudnorm.Meter(48000).integrated_loudness(wav[0].numpy())
    assert float(integrated_loudness(wav, 48000)) == pytest.approx(meter, abs=0.6)


RATIOS = (FLoudnessRatio(), TLoudnessRatio(), TFLoudnessRatio(n_bands=4))


@pytest.mark.parametrize("ratio", RATIOS, ids=lambda ratio: type(ratio).__name__)
def test_a_quieter_error_is_better(ratio: torch.nn.Module, generator: torch.Generator) -> None:
    """With default arguments and batches above one, where the original fails."""
    wav = 0.1 * torch.randn(3, 1, 16000, generator=generator)
    noise = 0.1 * torch.randn(3, 1, 16000, generator=generator)
    quiet, loud = ratio(wav + 0.01 * noise, wav), ratio(wav + 0.5 * noise, wav)
    assert quiet < loud


@pytest.mark.parametrize("ratio", RATIOS, ids=lambda ratio: type(ratio).__name__)
def test_silence_has_finite_gradients(ratio: torch.nn.Module) -> None:
    wav = torch.zeros(1, 1, 16000, requires_grad=True)
    ratio(wav, torch.zeros(1, 1, 16000)).backward()
    assert wav.grad is not None and torch.isfinite(wav.grad).all()


def test_a_meter_used_before_training_does_not_break_it(generator: torch.Generator) -> None:
    """The filters' responses are kept: those made in inference mode could not be part of a gradient."""
    wav = 0.1 * torch.randn(1, 1, 15999, generator=generator)
    with torch.inference_mode():
        integrated_loudness(wav, 12345)
    wav.requires_grad_()
    integrated_loudness(wav, 12345).sum().backward()
    assert wav.grad is not None and bool(wav.grad.any())


def test_watermark_golden(golden_dir: Path) -> None:
    inputs = load_file(golden_dir / "losses/inputs.safetensors")
    expected = load_file(golden_dir / "losses/expected/wm_losses.safetensors")
    sounds = (inputs["wm_pos"], inputs["wm_neg"], inputs["wm_mask"])
    torch.testing.assert_close(WMDetectionLoss()(*sounds), expected["det"], rtol=5e-5, atol=0)
    for kind in ("bce", "mse"):
        found = WMMbLoss(0.3, kind)(*sounds, inputs["wm_msg"])
        torch.testing.assert_close(found, expected[f"mb_{kind}"], rtol=5e-5, atol=0)


def test_only_marked_frames_should_be_found(generator: torch.Generator) -> None:
    mask = (torch.rand(2, 1, 50, generator=generator) > 0.5).float()
    right = torch.cat([1 - mask, mask], 1).clamp(0.01, 0.99)
    wrong = right.flip(1)
    clean = torch.tensor([0.99, 0.01]).reshape(1, 2, 1).expand(2, 2, 50)
    loss = WMDetectionLoss()
    assert loss(right, clean, mask) < 0.1 < loss(wrong, clean, mask)


def test_bits_are_read_from_marked_frames_only(generator: torch.Generator) -> None:
    bits = torch.randint(0, 2, (2, 8), generator=generator)
    mask = torch.zeros(2, 1, 20)
    mask[..., :10] = 1
    logits = (2.0 * bits - 1)[..., None].expand(2, 8, 20) * (2 * mask - 1) * 5
    decoded = torch.cat([torch.zeros(2, 2, 20), logits], 1)
    assert WMMbLoss(0.5, "bce")(decoded, decoded, mask, bits) < 1e-3
    assert WMMbLoss(0.5, "bce")(decoded, decoded, 0 * mask, bits) == 0
