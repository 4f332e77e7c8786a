"""From codes to logits in one call of the kernels: what torch computes, whatever conditions add."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audiocraft.kernels.bindings import Kernels
from audiocraft.models.lm import LMModel
from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider, Fused

K, V, D = 3, 37, 64


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def build(**kwargs: object) -> LMModel:
    torch.manual_seed(1)
    given = dict(num_heads=2, num_layers=2, norm_first=True, causal=True, custom=True, dropout=0.0) | kwargs
    fuser = ConditionFuser({"frames": ["plan"]})
    lm = LMModel(DelayedPatternProvider(K), ConditioningProvider({}), fuser, n_q=K, card=V, dim=D, **given)
    for parameter in lm.parameters():
        parameter.data.normal_(0, 0.2)
    return lm.eval()


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


CONDITIONS = {
    "none": Fused(),
    "added": Fused(add=normal(2, 1, D), frames=normal(2, 5, D)),
    "stretched": Fused(interpolate=normal(2, 4, D)),
    "in front": Fused(prepend=normal(2, 3, D)),
}
KINDS: dict[str, dict[str, object]] = {
    "sines": {},
    "rope": {"positional_embedding": "rope", "bias_proj": False},
    "both, small": {"positional_embedding": "sin_rope", "positional_scale": 0.3, "kv_repeat": 2},
}


@pytest.mark.parametrize("conditions", CONDITIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_torch(kernels: Kernels, kind: str, conditions: str) -> None:
    lm, fused = build(**KINDS[kind]), CONDITIONS[conditions]
    codes = torch.randint(0, V + 1, (2, K, 9))
    state = lm.init_state(2, 9, fused)
    assert state.heads is not None
    made = torch.cat([lm.logits(part, fused, state) for part in codes.split([3, *[1] * 6], dim=-1)], dim=2)
    plain = lm.init_state(2, 9, fused)
    plain.heads = plain.transformer.compiled = None
    expected = lm.logits(codes, fused, plain)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)
    assert state.position.tolist() == plain.position.tolist() == [9, 9]


@pytest.mark.parametrize("wrong", [-1, V + 1])
def test_codes_outside_the_tables(kernels: Kernels, wrong: int) -> None:
    lm = build()
    codes = torch.zeros(1, K, 1, dtype=torch.long)
    codes[0, 1] = wrong
    with pytest.raises(IndexError):
        lm.logits(codes, Fused(), lm.init_state(1, 4))


def test_what_is_watched_runs_in_torch(kernels: Kernels) -> None:
    lm = build()
    seen: list[nn.Module] = []
    lm.linears[0].register_forward_hook(lambda module, args, out: seen.append(module))
    state = lm.init_state(1, 4)
    assert state.heads is None and state.transformer.compiled is not None
    lm.logits(torch.zeros(1, K, 1, dtype=torch.long), Fused(), state)
