"""Low-rank adapters (LoRA, arXiv 2106.09685): a matrix W stays as it is, and a product B·A of low rank is added to it.

    W' = W + alpha / rank * B @ A        W [out, in], A [rank, in], B [out, rank]

B begins at zero, so that an adapted network begins as its base. Weights are adapted by `torch.nn.utils.parametrize`,
which reaches fused ones too; `merged` brings a state dict back to the names that the network had before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from audiocraft.checkpoints.adapters import add
from audiocraft.errors import InvalidInput

_ORIGINAL = "original"
_MARK = "parametrizations."


class LowRank(nn.Module):
    """This layer is the parametrization of one matrix by two narrow ones that are added to it.

    Args:
        shape: (out, in) of the matrix.
        rank: of what is added.
        alpha: how strongly it counts; the product is scaled by alpha / rank.
        dropout: share of the inputs of A that are left out at each use while training.
        strength: how much of the product counts while the module is not training.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        *,
        strength: float = 1.0,
        device: torch.device,
    ) -> None:
        super().__init__()
        rows, columns = shape
        self.a = nn.Parameter(torch.empty(rank, columns, device=device))
        self.b = nn.Parameter(torch.zeros(rows, rank, device=device))
        self.scale, self.dropout, self.strength = alpha / rank, dropout, strength
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted matrix of weight [out, in]."""
        a: Tensor = self.a
        if self.training and self.dropout:
            kept = torch.rand(a.shape[1], device=a.device) >= self.dropout
            a = a * (kept / (1 - self.dropout))
        scale = self.scale if self.training else self.scale * self.strength
        return weight + scale * (self.b @ a).to(weight.dtype)


def adapt(
    model: nn.Module,
    targets: Sequence[str],
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    strength: float = 1.0,
) -> list[str]:
    """Freeze `model` and give the matrices whose names match an adapter each; returns their names.

    Args:
        targets: patterns of names in the state dict, such as `transformer.*.in_proj_weight`.

    Raises:
        InvalidInput: a pattern matches no matrix.
    """
    matrices = {name: value for name, value in model.named_parameters() if value.dim() == 2}
    chosen: list[str] = []
    for pattern in targets:
        found = [name for name in matrices if fnmatchcase(name, pattern)]
        if not found:
            raise InvalidInput(
                f"lora: no matrix of this network is called {pattern!r}; there are {', '.join(_kinds(matrices))}",
                field="lora.targets",
            )
        chosen += [name for name in found if name not in chosen]
    model.requires_grad_(False)
    for name in chosen:
        place, _, own = name.rpartition(".")
        weight = matrices[name]
        shape = (weight.shape[0], weight.shape[1])
        low = LowRank(shape, rank, alpha, dropout, strength=strength, device=weight.device)
        parametrize.register_parametrization(model.get_submodule(place), own, low)
    return chosen


def _kinds(matrices: Mapping[str, Tensor]) -> list[str]:
    """Return the names of matrices, once each for all layers."""
    return list(
        dict.fromkeys(
            ".".join("*" if part.isdigit() else part for part in name.split(".")) for name in matrices
        )
    )


def plain_name(name: str) -> str | None:
    """Return the name that a weight of an adapted network has in its base; None for what belongs to an adapter."""
    place, mark, rest = name.partition(_MARK)
    if not mark:
        return name
    own, _, part = rest.rpartition(".")
    return f"{place}{own}" if part == _ORIGINAL else None


def adapters_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take from the state dict of an adapted network the matrices of its adapters: `NAME.lora_a` and `NAME.lora_b`."""
    return {f"{name}.lora_{part}": value for name, part, value in _parts(state) if part != _ORIGINAL}


def base_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of an adapted network under the names of its base, without its adapters."""
    own = {name: value for name, value in state.items() if _MARK not in name}
    return own | {name: value for name, part, value in _parts(state) if part == _ORIGINAL}


def merged(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Add the adapters of a state dict to their matrices.

    Args:
        scale: alpha / rank.
    """
    return add(base_of(state), adapters_of(state), scale)


def _parts(state: Mapping[str, Tensor]) -> Iterator[tuple[str, str, Tensor]]:
    """Yield (name in the base, part, value) of every tensor of adapted matrices."""
    for name, value in state.items():
        place, mark, rest = name.partition(_MARK)
        if mark:
            words = rest.split(".")
            yield place + words[0], words[-1], value
