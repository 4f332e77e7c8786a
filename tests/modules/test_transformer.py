"""The transformer: however a sequence is cut and wherever its rows are, the result is the same."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.modules.transformer import (
    LayerScale,
    StreamingTransformer,
    create_norm_fn,
    create_sin_embedding,
    expand_repeated_kv,
    set_efficient_attention_backend,
)
from audiocraft.modules.unet_transformer import UnetTransformer

BASE = {"d_model": 16, "num_heads": 4, "num_layers": 2, "dim_feedforward": 32, "dropout": 0.0}
VARIANTS = {
    "plain": {},
    "prenorm": {
        "custom": True,
        "norm_first": True,
        "bias_ff": False,
        "bias_attn": False,
        "activation": "gelu",
    },
    "rope": {"custom": True, "positional_embedding": "rope"},
    "xpos": {"memory_efficient": True, "positional_embedding": "sin_rope", "xpos": True},
    "past": {"custom": True, "past_context": 3},
    "past rope": {"custom": True, "past_context": 2, "positional_embedding": "rope"},
    "kv_repeat": {"custom": True, "kv_repeat": 2},
    "norms": {"custom": True, "qk_layer_norm": True, "layer_scale": 0.3},
    "cross": {"custom": True, "cross_attention": True, "norm_first": True},
    "cross post": {"custom": True, "cross_attention": True, "qk_layer_norm_cross": True},
    "float32": {"custom": True, "attention_as_float32": True},
}


def build(name: str, **more) -> StreamingTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StreamingTransformer(causal=True, **{**BASE, **VARIANTS[name], **more}).eval()


def inputs(name: str, batch: int = 2, steps: int = 9) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, steps, 16, generator=generator)
    source = torch.randn(batch, 5, 16, generator=generator)
    return x, {"cross_attention_src": source} if name.startswith("cross") else {}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("chunks", [[1] * 9, [5, 1, 1, 2], [2, 4, 3]], ids=["steps", "prefill", "chunks"])
@torch.no_grad()
def test_in_pieces_is_all_at_once(name: str, chunks: list[int]) -> None:
    """Prefill in chunks, past_context and rope all failed or drifted in the original when streaming."""
    model, (x, source) = build(name), inputs(name)
    state = model.init_state(2, 9)
    pieces = [model(part, state=state, **source) for part in x.split(chunks, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(x, **source), rtol=1e-5, atol=1e-5)
    assert state.position.tolist() == [9, 9]


@pytest.mark.parametrize("name", ["plain", "rope", "past", "cross"])
@torch.no_grad()
def test_rows_at_different_positions_share_a_step(name: str) -> None:
    """Continuous batching: a request joins while another is in the middle."""
    model, (x, source) = build(name), inputs(name)
    starts = [6, 2]
    alone, states = [], []
    for row, start in enumerate(starts):
        own = {key: value[row : row + 1] for key, value in source.items()}
        state = model.init_state(1, 12, **own)
        model(x[row : row + 1, :start], state=state, **own)
        states.append(state)
    joined = model.init_state(2, 12, **source)
    for layer, *parts in zip(joined.layers, *(state.layers for state in states), strict=True):
        layer.past.keys = torch.cat([part.past.keys for part in parts])
        layer.past.values = torch.cat([part.past.values for part in parts])
    joined.position, joined.kv_length = torch.tensor(starts), max(starts)
    step = torch.stack([x[row, start : start + 2] for row, start in enumerate(starts)])
    together = model(step, state=joined, **source)
    for row, start in enumerate(starts):
        own = {key: value[row : row + 1] for key, value in source.items()}
        alone.append(model(x[row : row + 1, start : start + 2], state=states[row], **own))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_cache_that_is_too_small_grows() -> None:
    model, (x, _) = build("plain"), inputs("plain")
    state = model.init_state(2, 2)
    pieces = [model(part, state=state) for part in x.split(4, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_source_of_cross_attention_is_projected_once() -> None:
    model, (x, source) = build("cross"), inputs("cross")
    state = model.init_state(2, 9, **source)
    nothing = {"cross_attention_src": torch.full_like(source["cross_attention_src"], math.nan)}
    torch.testing.assert_close(model(x, state=state, **nothing), model(x, **source), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_sixteen_threads_stream_through_one_model() -> None:
    model, (x, _) = build("rope"), inputs("rope", batch=1)

    def stream(scale: int) -> torch.Tensor:
        with torch.no_grad(), model.streaming():
            return torch.cat([model(part * scale) for part in x.split(1, dim=1)], 1)

    alone = [stream(scale) for scale in range(16)]
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(stream, range(16)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert before == {name: set(vars(module)) for name, module in model.named_modules()}


@torch.no_grad()
def test_masks_are_honoured_and_stay_causal() -> None:
    """The original replaced any mask by the causal one."""
    model, (x, _) = build("rope"), inputs("rope")
    hidden = torch.zeros(9, 9, dtype=torch.bool)
    hidden[:, 2] = True
    hidden[2, 2] = False
    masked = model(x, src_mask=hidden)
    added = model(x, src_mask=torch.zeros(9, 9).masked_fill(hidden, -math.inf))
    torch.testing.assert_close(masked, added)
    assert (masked - model(x))[:, 3:].abs().max() > 1e-3
    torch.testing.assert_close(masked[:, :2], model(x)[:, :2])
    changed = x.clone()
    changed[:, 2] += 1.0
    torch.testing.assert_close(model(changed, src_mask=hidden)[:, 3:], masked[:, 3:])
    changed = x.clone()
    changed[:, 5:] += 1.0
    torch.testing.assert_close(model(changed, src_mask=torch.zeros(9, 9))[:, :5], model(x)[:, :5])


def test_recomputing_layers_gives_the_same_gradients() -> None:
    x, _ = inputs("prenorm")
    grads = []
    for checkpointing in ("none", "torch"):
        model = build("prenorm", checkpointing=checkpointing).train()
        model(x).square().sum().backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_weights_lie_where_released_files_have_them() -> None:
    keys = set(build("cross").state_dict())
    assert "layers.0.self_attn.in_proj_weight" in keys and "layers.1.cross_attention.out_proj.bias" in keys
    assert "layers.0.norm_cross.weight" in keys
    assert "layers.0.self_attn.mha.in_proj_weight" in set(build("plain").state_dict())
    assert "layers.1.self_attn.rope.frequencies" in set(build("rope").state_dict())
    assert "layers.0.layer_scale_1.scale" in set(build("norms").state_dict())


def test_optimizer_group_carries_its_own_settings() -> None:
    group = build("plain", lr=0.1, weight_decay=0.2).make_optim_group()
    assert group["lr"] == 0.1 and group["weight_decay"] == 0.2 and group["params"]
    assert set(build("plain").make_optim_group()) == {"params"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: set_efficient_attention_backend("nonsense"),
        lambda: create_norm_fn("batch", 16),
        lambda: build("plain", positional_embedding="learned"),
        lambda: build("plain", checkpointing="some"),
        lambda: StreamingTransformer(**BASE).init_state(2, 5),
        lambda: build("cross")(torch.zeros(1, 2, 16)),
        lambda: build("plain")(torch.zeros(1, 2, 16), cross_attention_src=torch.zeros(1, 2, 16)),
        lambda: create_sin_embedding(torch.zeros(1, 2, 1), 5),
        lambda: UnetTransformer(d_model=16, num_heads=4, num_layers=3, skip_connections=True),
    ],
)
def test_what_cannot_be_is_refused(make) -> None:
    with pytest.raises(InvalidInput):
        make()
    set_efficient_attention_backend("torch")


def test_small_parts(generator) -> None:
    x = torch.randn(2, 3, 4, 8, generator=generator)
    assert expand_repeated_kv(x, 2, memory_efficient=True).shape == (2, 6, 4, 8)
    assert expand_repeated_kv(x, 2, memory_efficient=False).shape == (2, 3, 8, 8)
    assert torch.equal(LayerScale(4, init=0.5, channel_last=False)(x[0]), x[0] * 0.5)


def test_unet_drops_layers_only_in_training(generator) -> None:
    model = UnetTransformer(d_model=16, num_heads=4, num_layers=4, layer_dropout_p=0.9, dropout=0.0)
    x = torch.randn(1, 3, 16, generator=generator)
    assert torch.equal(model.eval()(x), model(x))
