"""What tables of watermarks show."""

from __future__ import annotations

from audiocraft.grids._base_explorers import BaseExplorer


class WatermarkingExplorer(BaseExplorer):
    """This explorer shows losses of training, and how seldom marks and bits are taken for what they are not."""

    metrics = {  # noqa: RUF012 - a constant of the class
        "train": ("snr", "grad_norm"),
        "valid": ("error",),
        "evaluate": ("sisnr", "pesq", "error"),
    }


class WatermarkingMbExplorer(WatermarkingExplorer):
    """This explorer shows the same with the share of message bits that are read right, in audio that nothing was done
    to."""

    metrics = {  # noqa: RUF012 - a constant of the class
        **WatermarkingExplorer.metrics,
        "valid": ("error", "aug_identity_bit_acc"),
        "evaluate": ("sisnr", "pesq", "error", "aug_identity_bit_acc"),
    }
