"""Low-rank adapters: an adapted network begins as its base, only adapters move, and merging gives the same results."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audiocraft.errors import InvalidInput
from audiocraft.models.loaders import load_lm_model
from audiocraft.modules import lora
from audiocraft.modules.transformer import StreamingTransformer

TARGETS = ("*.in_proj_weight", "*.linear1.weight")


def transformer() -> StreamingTransformer:
    return StreamingTransformer(16, 2, 2, 32, causal=True, dropout=0.0).eval()


def moved(model: nn.Module) -> None:
    for name, value in model.named_parameters():
        if value.requires_grad:
            assert name.rpartition(".")[2] in ("a", "b")
            nn.init.normal_(value, std=0.1)


def test_an_adapted_network_begins_as_its_base() -> None:
    model, x = transformer(), torch.randn(2, 5, 16)
    before, names = model(x), set(model.state_dict())
    chosen = lora.adapt(model, TARGETS, rank=2, alpha=4)
    assert len(chosen) == 4
    torch.testing.assert_close(model(x), before)
    assert {lora.plain_name(name) for name in model.state_dict()} - {None} == names


def test_merged_weights_do_what_the_adapted_network_does() -> None:
    model, other, x = transformer(), transformer(), torch.randn(2, 5, 16)
    lora.adapt(model, TARGETS, rank=2, alpha=4)
    moved(model)
    other.load_state_dict(lora.merged(model.state_dict(), 2.0))
    with torch.no_grad():
        torch.testing.assert_close(other(x), model(x), atol=1e-5, rtol=1e-5)
    base = lora.base_of(model.state_dict())
    added = lora.add(base, lora.adapters_of(model.state_dict()), 2.0)
    assert all(torch.equal(added[name], value) for name, value in other.state_dict().items())


def test_what_was_learnt_counts_for_its_strength_where_it_is_not_trained() -> None:
    """And the same there and after merging, so that what is measured is what is exported."""
    model, other, x = transformer(), transformer(), torch.randn(2, 5, 16)
    lora.adapt(model, TARGETS, rank=2, alpha=4, strength=0.25)
    moved(model)
    other.load_state_dict(lora.merged(model.state_dict(), 2.0 * 0.25))
    with torch.no_grad():
        torch.testing.assert_close(other(x), model.eval()(x), atol=1e-5, rtol=1e-5)
        other.load_state_dict(lora.merged(model.state_dict(), 2.0))
        torch.testing.assert_close(other.train()(x), model.train()(x), atol=1e-5, rtol=1e-5)


def test_only_adapters_are_trained() -> None:
    model = transformer()
    lora.adapt(model, TARGETS, rank=2, alpha=4)
    model.train()(torch.randn(2, 5, 16)).sum().backward()
    graded = {name for name, value in model.named_parameters() if value.grad is not None}
    assert len(graded) == 8 and all(".parametrizations." in name for name in graded)


def test_a_dropped_input_is_dropped_while_training_alone() -> None:
    low = lora.LowRank((4, 6), 2, 2.0, 0.5, device=torch.device("cpu"))
    nn.init.normal_(low.b)
    weight = torch.zeros(4, 6)
    assert torch.equal(low.eval()(weight), low(weight))
    low.train()
    assert bool((low(weight) == 0).all(dim=0).any()) or bool((low(weight) == 0).all(dim=0).any())


def test_adapters_of_the_bundled_model_are_small() -> None:
    lm = load_lm_model("musicgen-nano")
    total = sum(value.numel() for value in lm.parameters())
    lora.adapt(lm, ("transformer.*.in_proj_weight", "transformer.*.linear?.weight"), rank=8, alpha=16)
    assert sum(value.numel() for value in lm.parameters() if value.requires_grad) < 0.03 * total


def test_what_does_not_fit_is_named() -> None:
    model = transformer()
    with pytest.raises(
        InvalidInput, match=r"called 'x\.\*'; there are layers\.\*\.self_attn\.mha\.in_proj_weight"
    ):
        lora.adapt(model, ("x.*",), rank=2, alpha=4)
    base = model.state_dict()
    adapters = {"y.lora_a": torch.zeros(2, 3), "y.lora_b": torch.zeros(4, 2)}
    with pytest.raises(InvalidInput, match=r"matrix y of \[4, 3\], and the model has none"):
        lora.add(base, adapters, 1.0)
