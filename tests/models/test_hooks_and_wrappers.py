"""Users look into models with hooks, and put adapters and quantisers around their layers."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from audiocraft.generation.request import GenerationRequest, GenerationResult, Sampling
from audiocraft.models import MusicGen

PLAIN = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.Conv1d, nn.LSTM)


class Wrapper(nn.Module):
    """Around a layer, without the layer's attributes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Tensor) -> object:
        return self.inner(*args)


@pytest.fixture(params=["debug", "nano"])
def model(request: pytest.FixtureRequest) -> MusicGen:
    return MusicGen.get_pretrained(request.param, device="cpu")


def piece(model: MusicGen) -> GenerationResult:
    return model.run(GenerationRequest(prompts=("piano",), duration=0.12, seeds=(1,)))


def plain_layers(model: MusicGen) -> dict[str, nn.Module]:
    """The language model's layers of torch's own kinds, and the blocks that hold them."""
    found = {name: part for name, part in model.lm.named_modules() if isinstance(part, PLAIN)}
    conditions = [name for name in found if name.startswith("condition_provider")]
    conditions += [name for name in found if re.search(r"layers\.[^0]", name)]  # all are alike
    blocks = {f"transformer.layers.{k}": layer for k, layer in enumerate(model.lm.transformer.layers[:1])}
    return {
        **{n: p for n, p in found.items() if n not in conditions},
        **blocks,
        "transformer": model.lm.transformer,
    }


def test_forward_hooks_are_called(model: MusicGen) -> None:
    """Those of the heads never were, whose weights were read past them."""
    calls: set[str] = set()
    for name, part in plain_layers(model).items():
        handles = [
            part.register_forward_hook(functools.partial(lambda name, *_: calls.add(name), name)),
            part.register_forward_pre_hook(
                functools.partial(lambda name, *_: calls.add(f"before {name}"), name)
            ),
        ]
        piece(model)
        assert {name, f"before {name}"} <= calls, name
        for handle in handles:
            handle.remove()


def test_a_hook_may_change_what_a_head_says(model: MusicGen) -> None:
    def only_code_5(module: nn.Module, inputs: object, logits: Tensor) -> Tensor:
        return torch.full_like(logits, -9.0).index_fill(-1, torch.tensor([5]), 9.0)

    model.lm.linears[1].register_forward_hook(only_code_5)
    found = model.run(
        GenerationRequest(prompts=("a",), duration=0.2, seeds=(1,), sampling=Sampling(temperature=0))
    ).codes
    assert found is not None and (found[:, 1] == 5).all()


@torch.inference_mode()
def test_layers_in_wrappers_without_attributes(model: MusicGen) -> None:
    """`.weight` was read of what need not have one, and the error named something else."""
    made = piece(model)
    assert made.codes is not None
    for name, inner in plain_layers(model).items():
        if isinstance(inner, PLAIN):
            with wrapped(model.lm, name, inner):
                assert piece(model).audio.isfinite().all(), name
    codec = model.compression_model
    for name, part in list(codec.named_modules()):
        if isinstance(part, PLAIN):
            with wrapped(codec, name, part):
                try:
                    assert torch.allclose(codec.decode(made.codes), made.audio, atol=1e-3), name
                except AttributeError as error:  # paddings are computed from a convolution's attributes
                    assert "'Wrapper' object has no attribute" in str(error)


@contextmanager
def wrapped(model: nn.Module, name: str, inner: nn.Module) -> Iterator[None]:
    holder, own = model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
    setattr(holder, own, Wrapper(inner))
    yield
    setattr(holder, own, inner)
