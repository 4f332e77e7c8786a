"""Sequences that share a pass are, each, what the transformer makes of it alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from audiocraft.modules.backend import machine_kernels
from audiocraft.modules.packing import is_batch_invariant, pack_matrices
from audiocraft.modules.strands import Strand
from audiocraft.modules.transformer import StreamingTransformer
from audiocraft.modules.unet_transformer import UnetTransformer

SHAPE: dict[str, Any] = {
    "d_model": 64,
    "num_heads": 2,
    "num_layers": 2,
    "dim_feedforward": 128,
    "norm_first": True,
}


def strands(*sizes: tuple[int, int], cross: bool = False, told: bool = False) -> list[Strand]:
    """Rows and steps of each; every other one hides what is far away, and says so in numbers if `told`."""
    random = torch.Generator().manual_seed(3)
    made = []
    for number, (rows, steps) in enumerate(sizes):
        place = torch.arange(steps)
        hidden = (place[:, None] - place).abs() > 2 if number % 2 else None
        near = (2, 0) if number % 2 and told else None
        source = torch.randn(rows, 2 + number, 64, generator=random) if cross else None
        made.append(Strand(torch.randn(rows, steps, 64, generator=random), hidden, source, near))
    return made


@pytest.mark.parametrize("positions", ["sin", "rope"])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "int8", "int4", "fp16"])
@pytest.mark.parametrize("told", [False, True])
@torch.inference_mode()
def test_strands_are_what_they_are_alone(positions: str, cross: bool, precision: str, told: bool) -> None:
    network = UnetTransformer(
        **SHAPE, positional_embedding=positions, cross_attention=cross, skip_connections=True
    ).eval()
    if precision != "fp32":
        pack_matrices(network, precision)
    asked = strands((1, 7), (3, 5), (2, 12), (1, 90), cross=cross, told=told)
    together = network.run_strands(asked)
    for strand, found in zip(asked, together, strict=True):
        expected = network(strand.x, src_mask=strand.hidden, cross_attention_src=strand.source)
        # An input that lies between two whole numbers is rounded to one or the other by the last bit before it.
        assert torch.allclose(found, expected, atol=3e-2 if precision.startswith("int") else 1e-4)
        (alone,) = network.run_strands([strand])
        assert not is_batch_invariant(network) or torch.equal(found, alone)


def test_what_is_batch_invariant() -> None:
    """One matrix that torch multiplies is enough to make it not so."""
    network = StreamingTransformer(**SHAPE).eval()
    assert not is_batch_invariant(network)
    pack_matrices(network, "int8")
    assert is_batch_invariant(network) == (machine_kernels() is not None)
    network.add_module("another", torch.nn.Linear(64, 64))
    assert not is_batch_invariant(network)
