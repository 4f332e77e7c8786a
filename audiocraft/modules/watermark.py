"""Marked audio in training, of which parts are not marked, so that a detector learns where the mark is."""

from __future__ import annotations

import torch
from torch import Tensor

# Share of the samples that lose their mark on each side, or in the middle.
_TAIL, _MIDDLE = 0.33, 0.34


def pad(x_wm: Tensor, central: bool = False) -> tuple[Tensor, Tensor]:
    """Put silence parts of marked audio x_wm [B, C, N].

    Args:
        central: the middle third is silenced; otherwise the beginning and the end.

    Returns:
        The audio [B, C, N], and a mask [B, 1, N] that is 1 where the mark is left.
    """
    length = x_wm.shape[-1]
    mask = torch.ones(x_wm.shape[0], 1, length, device=x_wm.device, dtype=x_wm.dtype)
    if central:
        first = int((1 - _MIDDLE) / 2 * length)
        mask[..., first : first + int(_MIDDLE * length)] = 0
    else:
        tail = int(_TAIL * length)
        mask[..., :tail] = 0
        mask[..., length - tail :] = 0
    return x_wm * mask, mask


def mix(x: Tensor, x_wm: Tensor, window_size: float = 0.5, shuffle: bool = False) -> tuple[Tensor, Tensor]:
    """Put a random window of audio that is not marked into marked audio.

    Args:
        x: the audio as it is [B, C, N].
        x_wm: the same, marked [B, C, N].
        window_size: share of the samples that the window takes.
        shuffle: the window comes from other rows of the batch.

    Returns:
        The audio [B, C, N], and a mask [B, 1, N] that is 1 where the mark is left.
    """
    length = x.shape[-1]
    size = int(window_size * length)
    first = int(torch.randint(0, length - size + 1, (), device="cpu"))
    mask = torch.ones(x.shape[0], 1, length, device=x.device, dtype=x.dtype)
    mask[..., first : first + size] = 0
    source = x[torch.randperm(len(x), device=x.device)] if shuffle else x
    return x_wm * mask + source * (1 - mask), mask
