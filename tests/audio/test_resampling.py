"""Audio that comes in pieces is resampled as the whole is."""

from __future__ import annotations

import pytest
import torch

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.resampling import StreamResampler

RATES = [(32000, 16000), (16000, 32000), (44100, 16000), (16000, 44100), (16000, 16000), (44101, 16000)]


@pytest.mark.parametrize("rates", RATES, ids=str)
@pytest.mark.parametrize("sizes", [(1000,), (1, 37, 5000)], ids=str)
def test_pieces_give_the_whole(
    rates: tuple[int, int], sizes: tuple[int, ...], generator: torch.Generator
) -> None:
    wav = torch.randn(2, 12011, generator=generator)
    whole = convert_audio(wav[:, None], *rates, 1)[:, 0]
    stream, parts, place, turn = StreamResampler(*rates), [], 0, 0
    while place < wav.shape[-1]:
        size = sizes[turn % len(sizes)]
        parts.append(stream.push(wav[:, place : place + size]))
        place, turn = place + size, turn + 1
    torch.testing.assert_close(torch.cat([*parts, stream.finish()], -1), whole, rtol=0, atol=1e-5)


def test_a_stream_that_never_began_is_empty() -> None:
    assert StreamResampler(44100, 16000).finish().shape[-1] == 0
