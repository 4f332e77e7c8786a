"""Gated units halve their dimension; names that are not theirs pass through."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.modules.activations import CustomGLU, GeGLU, ReGLU, SwiGLU, get_activation_fn


@pytest.mark.parametrize(("unit", "function"), [(SwiGLU, F.silu), (GeGLU, F.gelu), (ReGLU, F.relu)])
def test_gated_unit(unit, function) -> None:
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    a, b = x.chunk(2, dim=1)
    assert torch.equal(unit(dim=1)(x), a * function(b))
    with pytest.raises(InvalidInput, match="odd"):
        unit()(x[..., :3])


def test_lookup() -> None:
    assert isinstance(get_activation_fn("swiglu"), CustomGLU)
    assert get_activation_fn("gelu") == "gelu"
    assert get_activation_fn(F.relu) is F.relu
