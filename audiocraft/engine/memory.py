"""What models and requests need of memory, estimated before anything is allocated, and what there is."""

from __future__ import annotations

import torch

from audiocraft.models.footprint import model_bytes
from audiocraft.models.generator import Estimate
from audiocraft.utils.memory import OutOfMemoryEstimate, available_bytes, gigabytes

__all__ = [
    "OutOfMemoryEstimate",
    "available_bytes",
    "check_estimate",
    "check_model",
    "gigabytes",
    "model_bytes",
]


def check_model(name: str, *, device: torch.device, precision: str) -> None:
    """Raise OutOfMemoryEstimate if model `name` cannot be loaded beside what is in memory."""
    available = available_bytes(device)
    if available is None:
        return
    need = model_bytes(name, device=device, precision=precision, loading=True)
    if need > available:
        raise OutOfMemoryEstimate(
            f"model {name!r} needs about {gigabytes(need)} and {gigabytes(available)} are free on {device}; "
            "unload another model, or take a smaller one",
            need=need,
            available=available,
        )


def check_estimate(
    estimate: Estimate, device: torch.device, *, promised: int = 0, wait: bool = False
) -> bool:
    """Return whether there is memory for a request beside what is in memory.

    Args:
        promised: bytes of requests that were admitted, but have not begun to use them.
        wait: others will free memory: the answer is False; else OutOfMemoryEstimate is raised.
    """
    available = available_bytes(device)
    if available is None:
        return True
    need, available = estimate.bytes, max(0, available - promised)
    if need <= available:
        return True
    if wait:
        return False
    raise OutOfMemoryEstimate(
        f"this request needs about {gigabytes(need)} and {gigabytes(available)} are free on {device}; "
        "ask for fewer prompts at once or a shorter piece, or take a smaller model",
        need=need,
        available=available,
    )
