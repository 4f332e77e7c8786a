"""What a fresh codec hears has to reach its output."""

from __future__ import annotations

import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.models.builders import build_codec
from audiocraft.solvers.initialise import standardise


@pytest.fixture(scope="module")
def audio() -> torch.Tensor:
    return 0.1 * torch.randn(4, 1, 9600, generator=torch.Generator().manual_seed(0))


def heard(codec: torch.nn.Module, audio: torch.Tensor) -> float:
    """How much of the output changes when every clip gets another clip's frames, relative to the output."""
    with torch.no_grad():
        frames = codec.encoder(audio)
        one, other = codec.decoder(frames), codec.decoder(frames.roll(1, 0))
    return float((one - other).std() / one.std())


def test_standardised_codec_passes_the_signal_on(audio: torch.Tensor) -> None:
    """With default weights 0.1 % of the output depended on the input, and training sat at the mean spectrum."""
    torch.manual_seed(0)
    codec = build_codec(compose(["solver=compression/nano_seanet", "seanet.n_filters=4"]).network)
    before = heard(codec, audio)
    frames = standardise(codec.encoder, audio)
    rebuilt = standardise(codec.decoder, frames, output_std=0.1)
    assert before < 0.05 < 0.5 < heard(codec, audio)
    with torch.no_grad():
        assert torch.allclose(codec.encoder(audio), frames, atol=1e-4)
        assert torch.allclose(codec.decoder(frames), rebuilt, atol=1e-4)
    assert float(rebuilt.std()) == pytest.approx(0.1, rel=0.3)
    assert torch.allclose(frames.std(dim=(0, 2)), torch.ones(64), atol=0.01)
