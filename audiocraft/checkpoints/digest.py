"""A digest that identifies weights by their names and values."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_digest(*modules: nn.Module, skip: str | None = None) -> str:
    """Compute the SHA-256 over names, types, shapes and values of all weights, in hexadecimal; it is the same on every
    device.

    Args:
        skip: leave out tensors whose name begins with this.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            if skip is None or not name.startswith(skip):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
