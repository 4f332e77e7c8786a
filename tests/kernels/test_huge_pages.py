"""Weights that move into large pages stay what they were."""

from __future__ import annotations

import copy

import torch
from torch import nn

from audiocraft.kernels import huge_pages
from audiocraft.modules.packed_linear import PackedWeight


def packed() -> list[PackedWeight]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((1100, 1024, "int8"), (700, 1024, "bf16"), (900, 1024, "int4"), (3, 64, "int8"))
    return [PackedWeight(torch.randn(rows, cols, generator=generator), kind) for rows, cols, kind in shapes]


def test_weights_are_the_same_side_by_side() -> None:
    weights, expected = packed(), packed()
    huge_pages.move_to_huge_pages(weights)
    for weight, other in zip(weights, expected, strict=True):
        assert torch.equal(weight.dense(), other.dense())
        assert weight.data.data_ptr() % huge_pages.LINE == 0
        assert weight.data.is_contiguous() and not weight.data.requires_grad
    copied = copy.deepcopy(nn.ModuleList(weights))
    copied.load_state_dict(nn.ModuleList(weights).state_dict())
    assert torch.equal(copied[2].dense(), expected[2].dense())


def test_few_bytes_stay_where_they_are() -> None:
    weight = PackedWeight(torch.ones(2, 64), "int8")
    place = weight.data.data_ptr()
    huge_pages.move_to_huge_pages([weight])
    assert weight.data.data_ptr() == place


def test_a_block_begins_with_a_page() -> None:
    block = huge_pages.block(3 * huge_pages.LARGE + 5)
    if block is not None:
        assert block.data_ptr() % huge_pages.LARGE == 0 and block.shape == (3 * huge_pages.LARGE + 5,)
        assert not block.any()
    assert huge_pages.block(100) is None


def test_a_room_holds_tensors_of_one_size() -> None:
    """Zeros that do not overlap; what does not fit, and what nobody foresaw, has a place of its own."""
    arena, device = huge_pages.Arena(3), torch.device("cpu")
    shape = (700, 1000)
    made = [arena.zeros(shape, torch.float32, device) for _ in range(4)]
    made += [
        arena.zeros((3, 5), torch.int8, device),
        huge_pages.Arena(2).zeros((2, 3), torch.float16, device),
    ]
    assert not any(tensor.any() for tensor in made)
    for value, tensor in enumerate(made):
        tensor.fill_(value)
    assert [tensor.unique().tolist() for tensor in made] == [[value] for value in range(6)]
    assert [tensor.shape for tensor in made[3:]] == [shape, (3, 5), (2, 3)]
