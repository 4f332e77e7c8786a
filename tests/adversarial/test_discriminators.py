"""Discriminators: parity with the original, every constructor spelling in circulation, any length of sound."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from audiocraft.adversarial import (
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    MultiScaleSTFTDiscriminator,
)
from audiocraft.adversarial.discriminators.base import MultiDiscriminator
from audiocraft.errors import ConfigError


def small() -> dict[str, MultiDiscriminator]:
    return {
        "mpd": MultiPeriodDiscriminator(periods=[2, 3, 5], filters=2, n_layers=3, max_filters=16),
        "msd": MultiScaleDiscriminator(
            scale_norms=["weight_norm", "weight_norm"], filters=4, max_filters=16, downsample_scales=[4, 4]
        ),
        "msstftd": MultiScaleSTFTDiscriminator(
            filters=4, n_ffts=[256, 128, 64], hop_lengths=[64, 32, 16], win_lengths=[256, 128, 64]
        ),
    }


@pytest.mark.parametrize("name", ["mpd", "msd", "msstftd"])
def test_golden(name: str, golden_dir: Path) -> None:
    inputs = load_file(golden_dir / "discriminators/inputs.safetensors")
    expected = load_file(golden_dir / "discriminators/expected/discriminators.safetensors")
    model = small()[name]
    prefix = f"{name}."
    weights = {key.removeprefix(prefix): value for key, value in inputs.items() if key.startswith(prefix)}
    model.load_state_dict(weights)
    assert set(model.state_dict()) == set(weights)
    with torch.no_grad():
        logits, features = model(inputs["wav"])
    found = {f"{prefix}logits{index}": value for index, value in enumerate(logits)}
    for index, maps in enumerate(features):
        found |= {f"{prefix}fmap{index}.{layer}": value for layer, value in enumerate(maps)}
    wanted = {key: value for key, value in expected.items() if key.startswith(prefix)}
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=5e-5 * float(value.abs().max()))


@pytest.mark.parametrize("name", ["mpd", "msd", "msstftd"])
@pytest.mark.parametrize("length", [1000, 1001, 1023])
def test_any_length(name: str, length: int, generator: torch.Generator) -> None:
    model = small()[name]
    logits, features = model(torch.randn(2, 1, length, generator=generator))
    assert len(logits) == len(features) == model.num_discriminators
    assert all(torch.isfinite(value).all() for value in logits)


def test_spellings_of_circulating_code() -> None:
    """The analysis service in the project's seed constructs them so."""
    models = (
        MultiPeriodDiscriminator(periods=[2, 3, 5, 7, 11], channels=2, kernel_size=5, max_filters=8),
        MultiScaleDiscriminator(scales=[1, 2, 4], channels=4, kernel_size=5, max_filters=8),
        MultiScaleSTFTDiscriminator(n_ffts=[1024, 2048, 4096], hop_lengths=[120, 240, 480], channels=2),
        MultiPeriodDiscriminator(filters=2, kernel_size=5, filter_scales=4, max_filters=8),
    )
    for model in models:
        logits, _ = model(torch.zeros(1, 1, 4096))
        assert len(logits) == model.num_discriminators


def test_scales_hear_the_sound_at_lower_rates() -> None:
    model = MultiScaleDiscriminator(scales=(1, 2, 4), filters=4, max_filters=8, downsample_scales=(2,))
    logits, _ = model(torch.zeros(1, 1, 1024))
    lengths = [value.shape[-1] for value in logits]
    assert lengths[0] // 2 <= lengths[1] <= lengths[0] // 2 + 1
    assert lengths[0] // 4 <= lengths[2] <= lengths[0] // 4 + 1


def test_windows_follow_the_transform_sizes() -> None:
    model = MultiScaleSTFTDiscriminator(2, n_ffts=(256, 64))
    assert [
        (one.spec_transform.win_length, one.spec_transform.hop_length) for one in model.discriminators
    ] == [
        (256, 64),
        (64, 16),
    ]


def test_separate_channels_are_separate_samples(generator: torch.Generator) -> None:
    model = MultiScaleSTFTDiscriminator(2, in_channels=2, sep_channels=True, n_ffts=(128,)).eval()
    stereo = torch.randn(1, 2, 1000, generator=generator)
    together, _ = model(stereo)
    alone, _ = model(stereo[:, 1:])
    torch.testing.assert_close(together[0][1:], alone[0])


def test_widening_filters() -> None:
    """The original's layers do not fit each other above a scale of one."""
    model = MultiScaleSTFTDiscriminator(2, n_ffts=(128,), filters_scale=2, max_filters=8)
    _, features = model(torch.zeros(1, 1, 512))
    assert [maps.shape[1] for maps in features[0]] == [2, 4, 8, 8, 8]


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="twice"):
        MultiPeriodDiscriminator(filters=2, channels=2)
    with pytest.raises(ConfigError, match="filters"):
        MultiScaleSTFTDiscriminator()
    with pytest.raises(ConfigError, match="activation"):
        MultiPeriodDiscriminator(filters=2, activation="Loud")


def test_power_brings_up_quiet_partials_and_keeps_phases() -> None:
    arguments = {"n_ffts": [256], "hop_lengths": [64], "win_lengths": [256]}
    plain = MultiScaleSTFTDiscriminator(4, **arguments)
    bent = MultiScaleSTFTDiscriminator(4, power=0.5, **arguments)
    bent.load_state_dict(plain.state_dict())
    heard: list[torch.Tensor] = []
    for network in (plain, bent):
        network.discriminators[0].convs[0].register_forward_pre_hook(
            lambda _, inputs: heard.append(inputs[0])
        )
        network(torch.randn(1, 1, 1024, generator=torch.Generator().manual_seed(0)))
    before, after = (torch.complex(*pair.chunk(2, dim=1)) for pair in heard)
    large = before.abs() > 1e-3
    assert torch.allclose(after.abs()[large], before.abs()[large].sqrt(), rtol=1e-4)
    assert torch.allclose(after.angle()[large], before.angle()[large], atol=1e-3)
    with pytest.raises(ConfigError, match="power"):
        MultiScaleSTFTDiscriminator(4, power=0.0)
