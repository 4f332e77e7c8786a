"""Which device a model runs on."""

from __future__ import annotations

import torch

from audiocraft.errors import InvalidInput


def usable_device(name: torch.device | str | None = None) -> torch.device:
    """The device called `name`, if tensors can be made there; by default the GPU, or else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = "cpu and cuda" if torch.cuda.is_available() else "cpu"
        raise InvalidInput(
            f"device {str(name)!r} cannot be used here; {there} can", field="device"
        ) from error
    return device
