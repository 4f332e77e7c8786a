"""What tables of codecs show."""

from __future__ import annotations

from audiocraft.grids._base_explorers import BaseExplorer


class CompressionExplorer(BaseExplorer):
    """This explorer shows losses of training, and how well recordings survive."""

    metrics = {  # noqa: RUF012 - a constant of the class
        "train": ("adv", "feat", "l1", "mel", "msspec", "grad_norm"),
        "valid": ("mel", "msspec", "sisnr"),
        "evaluate": ("sisnr", "visqol"),
    }
