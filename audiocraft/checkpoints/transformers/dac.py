"""Descript Audio Codec models of Hugging Face's format. Tensors keep their names; weight norm, where a file still has
it, is folded."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from audiocraft.errors import CheckpointError

_NORMS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def dac_from_hf(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with plain weights."""
    plain = dict(tensors)
    for length, direction in _NORMS:
        for name in [name for name in plain if name.endswith(f".{length}")]:
            stem = name.removesuffix(length)
            if stem + direction not in plain:
                raise CheckpointError(f"the file has {name} but no {stem + direction}")
            plain[f"{stem}weight"] = torch._weight_norm(plain.pop(stem + direction), plain.pop(name), 0)
    return plain
