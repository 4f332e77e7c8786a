"""What users of the original do with its layers: weights of torch's, states that they keep, half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from audiocraft.adversarial import FeatureMatchingLoss
from audiocraft.errors import InvalidInput
from audiocraft.modules.rope import RotaryEmbedding
from audiocraft.modules.transformer import StreamingTransformer


def transformer(**kwargs: Any) -> StreamingTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape: dict[str, Any] = dict(d_model=32, num_heads=4, num_layers=2, dim_feedforward=64, dropout=0.0)
        return StreamingTransformer(**{**shape, **kwargs}).eval()


@pytest.mark.parametrize("form", [{"custom": False}, {"custom": True}, {"memory_efficient": True}])
@torch.no_grad()
def test_weights_of_torch_s_transformer(form: dict[str, bool], generator: torch.Generator) -> None:
    theirs = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False
    ).eval()
    ours = transformer(positional_scale=0.0, **form)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 7, 32, generator=generator)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    for other in (transformer(custom=True), transformer(custom=False)):
        other.load_state_dict(ours.state_dict())  # either form takes the other's
        again = transformer(positional_scale=0.0, **form)
        again.load_state_dict(other.state_dict())
        assert torch.equal(again(x), ours(x))


@pytest.mark.parametrize("form", [{"custom": False}, {"custom": True}, {"memory_efficient": True}])
@pytest.mark.parametrize("positions", ["sin", "rope"])
@torch.no_grad()
def test_attention_in_float32_of_a_model_in_bfloat16(
    form: dict[str, bool], positions: str, generator: torch.Generator
) -> None:
    shared: dict[str, Any] = dict(causal=True, positional_embedding=positions, **form)
    model = transformer(attention_as_float32=True, dtype=torch.bfloat16, **shared)
    x = torch.randn(2, 6, 32, generator=generator).bfloat16()
    whole = model(x)
    assert whole.dtype == torch.bfloat16
    exact = transformer(**shared)
    exact.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    assert torch.allclose(whole.float(), exact(x.float()), atol=0.15)
    with model.streaming():
        parts = torch.cat([model(x[:, :4]), model(x[:, 4:])], dim=1)
    assert torch.allclose(parts.float(), whole.float(), atol=0.1)
    model.bfloat16()
    assert model(x).isfinite().all()


@torch.no_grad()
def test_a_streaming_state_can_be_cloned_and_set_back(generator: torch.Generator) -> None:
    """`{name: value.clone() for name, value in state.items()}` is how the original's states, all tensors, were kept."""
    model = transformer(causal=True)
    x = torch.randn(2, 6, 32, generator=generator)
    whole = model(x)
    with model.streaming():
        model(x[:, :3])
        kept = {name: value.clone() for name, value in model.get_streaming_state().items()}
        for _ in range(2):
            assert torch.allclose(model(x[:, 3:]), whole[:, 3:], atol=1e-5)
            model.set_streaming_state(kept)


@pytest.mark.parametrize("xpos", [False, True])
def test_a_scale_of_zero_changes_nothing(xpos: bool, generator: torch.Generator) -> None:
    rope = RotaryEmbedding(8, xpos=xpos, scale=0.0)
    q, k = torch.randn(2, 1, 5, 2, 8, generator=generator)
    for found, given in zip(rope.rotate_qk(q, k, start=700), (q, k), strict=True):
        assert torch.allclose(found, given)
    turned = rope.rotation(torch.arange(700, 705)[None]).apply(q.transpose(1, 2), k.transpose(1, 2))
    assert torch.allclose(turned[0], q.transpose(1, 2)) and torch.allclose(turned[1], k.transpose(1, 2))


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_both_ways_to_rotate_are_the_same(scale: float, generator: torch.Generator) -> None:
    rope = RotaryEmbedding(8, xpos=True, scale=scale)
    q, k = torch.randn(2, 1, 5, 2, 8, generator=generator)
    turned = rope.rotation(torch.arange(3, 8)[None]).apply(q.transpose(1, 2), k.transpose(1, 2))
    for one, other in zip(rope.rotate_qk(q, k, start=3), turned, strict=True):
        assert torch.allclose(one, other.transpose(1, 2), atol=1e-6)


@pytest.mark.parametrize(
    ("fake", "real"),
    [
        ([(1, 2, 3)], [(1, 2, 4)]),
        ([(1, 2, 3)], [(1, 1, 3)]),
        ([(1, 2, 3)] * 2, [(1, 2, 3)]),
        ([], []),
    ],
)
def test_feature_maps_that_differ_are_the_caller_s_error(
    fake: list[tuple[int, ...]], real: list[tuple[int, ...]]
) -> None:
    """Some shapes were stretched over each other, with a warning at most."""
    with pytest.raises(InvalidInput, match="feature map") as refused:
        FeatureMatchingLoss()([torch.zeros(shape) for shape in fake], [torch.zeros(shape) for shape in real])
    assert isinstance(refused.value, AssertionError)
