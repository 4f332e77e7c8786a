"""A transformer in the kernels is the one in torch; a row is on its own; the rest stays in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiocraft.kernels.bindings import Kernels
from audiocraft.modules.packing import pack_matrices
from audiocraft.modules.ragged import RaggedState
from audiocraft.modules.transformer import StreamingTransformer, StreamingTransformerLayer

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cross": {"cross_attention": True},
    "rope": {"positional_embedding": "rope", "past_context": 5},
    "xpos and shared heads": {"positional_embedding": "sin_rope", "xpos": True, "kv_repeat": 2},
    "relu, no biases in attention": {"activation": "relu", "bias_attn": False},
    "float32 attention": {"attention_as_float32": True},
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "post-norm": {"norm_first": False},
    "layer scale": {"layer_scale": 0.1},
    "norm of queries": {"qk_layer_norm": True},
    "odd width": {"d_model": 36},
    "other activation": {"activation": "silu"},
}


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def build(**kwargs: Any) -> StreamingTransformer:
    given: dict[str, Any] = dict(
        d_model=128, num_heads=2, num_layers=3, dim_feedforward=192, causal=True, norm_first=True, custom=True,
        activation="gelu", dropout=0.0,
    ) | kwargs  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = StreamingTransformer(**given)
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.1)
    return model.eval()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def source_of(model: StreamingTransformer, rows: int, length: int = 7) -> Tensor | None:
    return normal(rows, length, 128, seed=9) if model.has_cross_attention else None


def stepwise(model: StreamingTransformer, x: Tensor, source: Tensor | None, cuts: tuple[int, ...]) -> Tensor:
    """x through a state with room for two steps, in pieces of these lengths."""
    state = model.init_state(x.shape[0], 2, source)
    return torch.cat([model(part, state=state) for part in x.split(list(cuts), dim=1)], dim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_whole_sequence_in_torch(kernels: Kernels, kind: str) -> None:
    model = build(**KINDS[kind])
    x, source = normal(3, 12, 128), source_of(model, 3)
    assert model.runs_natively
    whole = model(x, cross_attention_src=source)
    torch.testing.assert_close(stepwise(model, x, source, (4, *[1] * 8)), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize("kind", ["cross", "rope"])
def test_a_row_is_on_its_own_to_the_last_bit(kernels: Kernels, kind: str, precision: str) -> None:
    model = build(**KINDS[kind])
    if precision != "fp32":
        pack_matrices(model, precision)
    x, source = normal(9, 10, 128), source_of(model, 9)
    together = stepwise(model, x, source, (3, 3, 1, 1, 1, 1))
    for row in (0, 4, 8):
        own = slice(row, row + 1)
        alone = stepwise(model, x[own], None if source is None else source[own], (1,) * 10)
        assert torch.equal(alone, together[own])


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8", "int4"])
def test_packed_models_in_kernels_and_in_torch(
    kernels: Kernels, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(cross_attention=True)
    pack_matrices(model, precision)
    x, source = normal(2, 8, 128), source_of(model, 2)
    state = model.init_state(2, 8, source)
    cached = torch.int8 if precision in ("int8", "int4") else torch.float16
    assert state.compiled is not None and state.layers[0].past.keys.dtype == cached
    fast = torch.cat([model(part, state=state) for part in x.split(1, dim=1)], dim=1)
    monkeypatch.setattr("audiocraft.modules.backend.kernels", lambda: None)
    slow = stepwise(model, x, source, (1,) * 8)
    loose = 0.05 if precision in ("int8", "int4") else 5e-3  # inputs are rounded to 8 bits on some processors
    assert (fast - slow).square().mean() < loose**2 * slow.square().mean()


def test_requests_that_share_a_step_get_what_they_get_alone(kernels: Kernels) -> None:
    model = build(cross_attention=True)
    inputs = [normal(rows, 9, 128, seed=rows) for rows in (1, 2, 3)]
    sources = [normal(rows, 4 + rows, 128, seed=20 + rows) for rows in (1, 2, 3)]
    alone = [stepwise(model, x, s, (1,) * 9) for x, s in zip(inputs, sources, strict=True)]
    states = [model.init_state(len(x), 2, s) for x, s in zip(inputs, sources, strict=True)]
    for age, (x, state) in enumerate(zip(inputs, states, strict=True)):
        for step in range(age):
            model(x[:, step : step + 1], state=state)
    shared = RaggedState.of(states, padding=2)
    for step in range(4):
        own = [x[:, age + step : age + step + 1] for age, x in enumerate(inputs)]
        out = model(torch.cat([*own, torch.zeros(2, 1, 128)]), state=shared)
        assert not out[6:].any()
        for age, part in enumerate(out[:6].split([1, 2, 3])):
            assert torch.equal(part, alone[age][:, age + step : age + step + 1])


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_kernels_do_not_know_runs_in_torch(kernels: Kernels, kind: str) -> None:
    model = build(**UNKNOWN[kind])
    width = UNKNOWN[kind].get("d_model", 128)
    x = normal(4, 6, width)
    assert not model.runs_natively and model.init_state(4, 6).compiled is None
    torch.testing.assert_close(stepwise(model, x, None, (3, 1, 1, 1)), model(x), rtol=1e-4, atol=1e-4)


def test_subclasses_hooks_and_training_run_in_torch(kernels: Kernels) -> None:
    class Louder(StreamingTransformerLayer):
        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            return 2 * super().forward(*args, **kwargs)

    assert not build(layer_class=Louder).runs_natively
    assert not build().train().runs_natively
    model = build()
    seen: list[nn.Module] = []
    handle = model.layers[1].linear1.register_forward_hook(lambda module, args, out: seen.append(module))
    stepwise(model, normal(1, 2, 128), None, (1, 1))
    assert len(seen) == 2
    handle.remove()
    assert model.runs_natively


def test_gradients_need_torch(kernels: Kernels) -> None:
    model = build()
    state = model.init_state(1, 4)
    with torch.enable_grad():
        x = normal(1, 1, 128).requires_grad_()
        model(x, state=state).sum().backward()
    assert x.grad is not None
    # The same state goes on in the kernels.
    rest = model(normal(1, 1, 128, seed=4), state=state)
    again = stepwise(model, torch.cat([x.detach(), normal(1, 1, 128, seed=4)], dim=1), None, (1, 1))
    torch.testing.assert_close(rest, again[:, 1:], rtol=1e-4, atol=1e-5)


def test_a_source_that_comes_with_each_step(kernels: Kernels) -> None:
    """A `streaming()` block makes its state before any source is known; alone and in company it runs in torch."""
    model = build(cross_attention=True)
    x, source = normal(2, 6, 128), normal(2, 7, 128, seed=9)
    whole = model(x, cross_attention_src=source)
    with model.streaming():
        parts = [model(part, cross_attention_src=source) for part in x.split(2, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-4)
    shared = RaggedState.of([model.init_state(1, 6), model.init_state(1, 6)], padding=0)
    step = model(x[:, :1], cross_attention_src=source, state=shared)
    torch.testing.assert_close(step, whole[:, :1], rtol=1e-4, atol=1e-4)


def test_without_kernels(in_torch: None) -> None:
    model = build()
    assert not model.runs_natively
    x = normal(4, 5, 128)
    torch.testing.assert_close(stepwise(model, x, None, (2, 1, 1, 1)), model(x), rtol=1e-4, atol=1e-4)
