"""The true peak is that of the filter between the samples, however it is computed."""

from __future__ import annotations

import pytest
import torch

from audiocraft.audio.loudness import interpolator, true_peak


@pytest.mark.parametrize("rate", [24000, 44100, 96000, 192000])
def test_true_peak_is_the_highest_level_between_the_samples(rate: int) -> None:
    """Whatever the length: rows of a product, and the rest behind the last whole one."""
    between = interpolator(rate)
    reach = between.shape[-1] // 2
    for length in (1, 63, 64, 65, 1000):
        wav = torch.randn(2, length)
        padded = torch.nn.functional.pad(wav, (reach, reach), mode="replicate")
        level = torch.nn.functional.conv1d(padded[:, None], between).abs().amax()
        assert 10 ** (true_peak(wav, rate) / 20) == pytest.approx(float(level), rel=1e-5)
