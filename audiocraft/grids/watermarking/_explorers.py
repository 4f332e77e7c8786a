"""What tables of watermarks show."""

from __future__ import annotations

from audiocraft.grids._base_explorers import BaseExplorer


class WatermarkingExplorer(BaseExplorer):
    """Losses of training, and how seldom marks and bits are taken for what they are not."""

    metrics = {  # noqa: RUF012 - a constant of the class
        "train": ("snr", "grad_norm"),
        "valid": ("error",),
        "evaluate": ("sisnr", "pesq", "error"),
    }
