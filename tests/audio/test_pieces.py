"""Work in pieces gives what work on the whole gives, whatever the pieces are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiocraft.audio import pieces
from audiocraft.audio.convert import convert_audio
from audiocraft.audio.pieces import convert_pieces, in_pieces


def cut(wav: Tensor, sizes: list[int]) -> Iterator[Tensor]:
    """wav [..., N] in parts of these sizes, again and again."""
    first, number = 0, 0
    while first < wav.shape[-1]:
        size = sizes[number % len(sizes)]
        yield wav[..., first : first + size]
        first, number = first + size, number + 1


@given(
    st.integers(0, 200),
    st.lists(st.integers(1, 50), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(0, 4),
)
def test_any_pieces_give_the_whole(length: int, sizes: list[int], steps: int, context: int) -> None:
    """Sums over steps of three samples and their neighbours, two results for each step."""
    wav = torch.arange(float(length)) ** 2

    def apply(x: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(x, (3, 3 + -len(x) % 3))
        return padded.unfold(0, 9, 3).sum(dim=-1).repeat_interleave(2)

    parts = list(
        in_pieces(cut(wav, sizes), apply, step=3, gives=2, size=3 * steps, context=3 * (context + 1))
    )
    made = torch.cat(parts) if parts else torch.zeros(0)
    torch.testing.assert_close(made, apply(wav) if length else torch.zeros(0))


@pytest.mark.parametrize(
    ("old", "new"), [(44100, 24000), (24000, 24000), (8000, 24000), (96000, 16000), (22255, 24000)]
)
def test_resampling_in_pieces(
    old: int, new: int, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    monkeypatch.setattr(pieces, "_SECONDS", 1)
    wav = 0.1 * torch.randn(2, int(2.3 * old), generator=generator)
    made = torch.cat(list(convert_pieces(cut(wav, [old, 7777]), old, new, 1)), dim=-1)
    whole = convert_audio(wav, old, new, 1)
    assert made.shape == whole.shape
    torch.testing.assert_close(made, whole, rtol=0, atol=1e-4)
