"""Networks laid out without memory have the shapes of real ones; real tensors inside still get their values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiocraft.modules.norm import normalise_weight
from audiocraft.utils.meta_init import laid_out_on


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = normalise_weight(nn.Conv1d(2, 3, 4), "weight_norm")
        self.up = normalise_weight(nn.ConvTranspose1d(3, 2, 4), "weight_norm")
        self.lstm = nn.LSTM(3, 3, num_layers=2)
        self.table = nn.Embedding(5, 3)
        with torch.device("cpu"):
            self.register_buffer("noise", torch.empty(4).normal_())


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def test_shapes_are_those_of_real_networks() -> None:
    with torch.random.fork_rng(devices=[]):
        with laid_out_on("meta"):
            planned = Network()
        with laid_out_on("cpu"):
            real = Network()
    assert shapes(planned) == shapes(real)
    assert all(value.is_meta for name, value in planned.state_dict().items() if name != "noise")
    assert not any(value.is_meta for value in real.state_dict().values())


def test_real_tensors_inside_get_values() -> None:
    def drawn() -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return torch.empty(9, device="cpu").normal_()

    wanted = drawn()
    with laid_out_on("meta"):
        assert torch.equal(drawn(), wanted)
        assert torch.linalg.vector_norm(torch.ones(4, device="cpu")) == 2
        assert torch.ones(2, 2).add(1).is_meta
