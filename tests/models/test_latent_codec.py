"""Latents in place of codes: what a flow makes is played as the codec plays what its codes say."""

from __future__ import annotations

import pytest
import torch

from audiocraft.models.codecs.latents import LatentCodec
from audiocraft.models.loaders import load_compression_model

MEAN, STD = 0.3, 1.7


@pytest.fixture(scope="module", params=["nano", "nano-wide"])
def codec(request: pytest.FixtureRequest) -> LatentCodec:
    """One codec whose codes say all of a frame, and one whose codes say what the frame before does not."""
    return LatentCodec(load_compression_model(request.param), MEAN, STD)


@pytest.fixture(scope="module")
def codes(codec: LatentCodec) -> torch.Tensor:
    seconds = torch.arange(24000) / 24000
    wav = 0.2 * torch.sin(2 * torch.pi * 220 * seconds) * torch.exp(-3 * (seconds % 0.25))
    return codec.codec.encode(wav.view(1, 1, -1))[0]


@torch.no_grad()
def test_frames_that_codes_say_sound_as_the_codes(codec: LatentCodec, codes: torch.Tensor) -> None:
    latents = (codec.codec.decoder_frames(codes) - MEAN) / STD
    torch.testing.assert_close(codec.decode(latents), codec.codec.decode(codes), atol=1e-4, rtol=0)


@torch.no_grad()
def test_audio_comes_back_as_loud_as_it_was(codec: LatentCodec, codes: torch.Tensor) -> None:
    """Frames that are not quantised are nearly those that are."""
    wav = codec.codec.decode(codes)
    again = codec.decode(codec.encode(wav))
    assert 0.5 < float(again.square().mean() / wav.square().mean()) < 2


@torch.no_grad()
def test_piece_by_piece_is_all_at_once(codec: LatentCodec, codes: torch.Tensor) -> None:
    latents = (codec.codec.decoder_frames(codes) - MEAN) / STD
    stream = codec.open_stream()
    parts = [stream.push(part) for part in latents.split([1, 0, 7, latents.shape[-1] - 8], dim=-1)]
    torch.testing.assert_close(
        torch.cat([*parts, stream.finish()], -1), codec.decode(latents), atol=1e-5, rtol=0
    )
