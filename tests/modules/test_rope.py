"""Rotary embedding: only distances count."""

from __future__ import annotations

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.modules.rope import RotaryEmbedding


@pytest.mark.parametrize("xpos", [False, True])
def test_scores_depend_on_the_distance_alone(xpos: bool, generator) -> None:
    rope = RotaryEmbedding(8, xpos=xpos)
    query, key = torch.randn(2, 1, 6, 2, 8, generator=generator)
    scores = []
    for start in (0, 100):
        q, k = rope.rotate_qk(query, key, start=start)
        scores.append(torch.einsum("bshd,blhd->bhsl", q, k))
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-4)


def test_a_shorter_query_is_the_end_of_the_key(generator) -> None:
    """Streaming: the original took the offset from the number of heads."""
    rope = RotaryEmbedding(8)
    query, key = torch.randn(2, 1, 6, 3, 8, generator=generator)
    whole, _ = rope.rotate_qk(query, key)
    last, _ = rope.rotate_qk(query[:, 4:], key)
    torch.testing.assert_close(last, whole[:, 4:])


def test_both_ways_to_rotate_agree(generator) -> None:
    rope = RotaryEmbedding(8, xpos=True)
    query, key = torch.randn(2, 2, 3, 5, 8, generator=generator)  # [B, H, S, D / H]
    q, k = rope.rotation(torch.arange(5).unsqueeze(0)).apply(query, key)
    torch.testing.assert_close(q, rope.rotate(query, time_dim=2))
    torch.testing.assert_close(k, rope.rotate(key, time_dim=2, invert_decay=True))


def test_scale_zero_does_nothing(generator) -> None:
    x = torch.randn(1, 4, 2, 8, generator=generator)
    torch.testing.assert_close(RotaryEmbedding(8, scale=0.0).rotate(x), x)


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(InvalidInput, match="even"):
        RotaryEmbedding(7)
