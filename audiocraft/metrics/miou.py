"""Kept for users of the original, and for detectors of marks: how well they find which samples are marked."""

from __future__ import annotations

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput


def calculate_miou(y_pred: Tensor, y_true: Tensor) -> float:
    """Return the mean over rows, 0 to 1, of what is marked in both over what is marked in either. A row in which
    neither has anything counts 1.

    Args:
        y_pred: probabilities [B, N]; above a half is marked.
        y_true: 0 or 1 [B, N].
    """
    if y_pred.shape != y_true.shape:
        raise InvalidInput(
            f"both have one shape, got {list(y_pred.shape)} and {list(y_true.shape)}", field="y_pred"
        )
    found, wanted = (
        mask.flatten(1) if mask.dim() > 1 else mask[None] for mask in (y_pred > 0.5, y_true > 0.5)
    )
    both, either = (found & wanted).sum(-1), (found | wanted).sum(-1)
    ratios = torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both, dtype=torch.float32))
    return float(ratios.mean())
