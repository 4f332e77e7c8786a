"""Best states are copies."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audiocraft.errors import InvalidInput
from audiocraft.utils.best_state import BestStateDictManager


def test_training_on_does_not_change_the_copy() -> None:
    model = nn.Linear(2, 2)
    best = BestStateDictManager(dtype=torch.float16)
    best.register("model", model)
    before = best.state_dict()["model"]["weight"].clone()
    with torch.no_grad():
        model.weight.add_(1)
    assert torch.equal(best.state_dict()["model"]["weight"], before) and before.dtype == torch.float16
    best.update("model", model)
    assert not torch.equal(best.state_dict()["model"]["weight"], before)
    other = BestStateDictManager()
    other.load_state_dict(best.state_dict())
    assert other.states["model"].keys() == best.states["model"].keys()
    assert torch.equal(other.states["model"]["weight"], best.states["model"]["weight"])
    assert other.states["model"]["weight"] is not best.states["model"]["weight"]


def test_mistakes_are_named() -> None:
    model = nn.Linear(2, 2)
    best = BestStateDictManager()
    best.register("model", model)
    with pytest.raises(InvalidInput, match="already"):
        best.register("model", nn.Linear(2, 2))
    with pytest.raises(InvalidInput, match="shares weights"):
        best.register("twin", model)
    with pytest.raises(InvalidInput, match="not registered"):
        best.update("other", model)
