"""Attention and its cache, against the textbook formula."""

from __future__ import annotations

import math

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.kernels.huge_pages import Arena
from audiocraft.modules.attention import KVCache, causal_mask, mask_from_torch, merge_masks, sdpa
from audiocraft.modules.multihead import StreamingMultiheadAttention


def textbook(query, key, value, visible=None):
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return torch.softmax(scores if visible is None else scores.masked_fill(~visible, -math.inf), -1) @ value


def test_attend_is_softmax_of_scaled_scores(generator) -> None:
    query, key, value = torch.randn(3, 2, 4, 5, 8, generator=generator)
    torch.testing.assert_close(sdpa(query, key, value), textbook(query, key, value))
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(sdpa(query, key, value, causal=True), textbook(query, key, value, causal))
    torch.testing.assert_close(sdpa(query, key, value, causal), textbook(query, key, value, causal))


def test_key_heads_serve_neighbouring_query_heads(generator) -> None:
    query = torch.randn(1, 4, 5, 8, generator=generator)
    key, value = torch.randn(2, 1, 2, 5, 8, generator=generator)
    expected = textbook(query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1))
    torch.testing.assert_close(sdpa(query, key, value), expected)
    with pytest.raises(InvalidInput):
        sdpa(query[:, :3], key, value)


def test_visible_keys_respects_order_and_reach() -> None:
    visible = causal_mask(torch.tensor([[3, 4], [0, 1]]), kv_length=6, past_context=2)
    expected = [[[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0]], [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]]
    assert visible[:, 0].int().tolist() == expected


def test_cache_rows_are_written_where_they_are(generator) -> None:
    cache = KVCache(torch.zeros(2, 1, 4, 2), torch.zeros(2, 1, 4, 2))
    key, value = torch.randn(2, 2, 1, 2, 2, generator=generator)
    cache.write(torch.tensor([[0, 1], [2, 3]]), key, value)
    assert torch.equal(cache.keys[0, :, :2], key[0]) and torch.equal(cache.keys[1, :, 2:], key[1])
    assert not cache.keys[0, :, 2:].any() and not cache.keys[1, :, :2].any()
    cache.grow(9)
    assert cache.values.shape[2] == 9 and torch.equal(cache.values[1, :, 2:4], value[1])


def test_a_cache_in_8_bits(generator) -> None:
    """Each vector is off by at most half a step of its own scale, wherever it is, and also after growing."""
    cache = KVCache.empty((2, 3, 4, 16), torch.int8, torch.device("cpu"), Arena(2))
    key, value = torch.randn(2, 2, 3, 2, 16, generator=generator) * torch.tensor([1e-3, 40.0]).view(
        1, 1, 1, 2, 1
    )
    value[0, 0] = 0
    cache.write(torch.tensor([[0, 1], [2, 3]]), key, value)
    cache.grow(9)
    keys, values = cache.read(4)
    for found, given in ((keys, key), (values, value)):
        assert found.shape == (2, 3, 4, 16)
        for row, places in enumerate((slice(0, 2), slice(2, 4))):
            step = given[row].abs().amax(-1, keepdim=True) / 127
            assert ((found[row, :, places] - given[row]).abs() <= 0.5001 * step).all()
    assert not keys[0, :, 2:].any() and not keys[1, :, :2].any()


def test_masks_combine_in_any_form() -> None:
    seen = torch.tensor([[True, True, False]])
    added = torch.tensor([[0.0, -math.inf, 0.0]])
    assert merge_masks(seen, None) is seen
    assert merge_masks(seen, torch.tensor([[True, False, True]])).tolist() == [[True, False, False]]
    assert merge_masks(seen, added).tolist() == [[0.0, -math.inf, -math.inf]]
    assert mask_from_torch(torch.zeros(6, 5, 5, dtype=torch.bool), batch=2).shape == (2, 3, 5, 5)
    with pytest.raises(InvalidInput):
        mask_from_torch(torch.zeros(5), batch=2)


def test_padding_is_not_attended(generator) -> None:
    attention = StreamingMultiheadAttention(16, 4, custom=True).eval()
    x = torch.randn(2, 6, 16, generator=generator)
    padding = torch.zeros(2, 6, dtype=torch.bool)
    padding[:, 4:] = True
    out, weights = attention(x, x, x, key_padding_mask=padding)
    short, _ = attention(x[:, :4], x[:, :4], x[:, :4])
    torch.testing.assert_close(out[:, :4], short)
    assert weights is None


def test_attention_alone_can_stream(generator) -> None:
    attention = StreamingMultiheadAttention(16, 4, causal=True, custom=True).eval()
    x = torch.randn(2, 6, 16, generator=generator)
    whole, _ = attention(x, x, x)
    with attention.streaming():
        steps = [attention(part, part, part)[0] for part in x.split([3, 1, 2], dim=1)]
    torch.testing.assert_close(torch.cat(steps, 1), whole)


@pytest.mark.parametrize(
    "options",
    [
        {"num_heads": 3},
        {"kv_repeat": 3},
        {"cross_attention": True, "causal": True},
        {"qk_layer_norm": True, "kv_repeat": 2},
    ],
)
def test_options_that_contradict_are_refused(options) -> None:
    with pytest.raises(InvalidInput):
        StreamingMultiheadAttention(16, **{"num_heads": 4, **options})
