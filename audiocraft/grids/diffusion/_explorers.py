"""What tables of diffusion decoders show."""

from __future__ import annotations

from audiocraft.grids._base_explorers import BaseExplorer


class DiffusionExplorer(BaseExplorer):
    """This explorer shows the error of the noise, and how near the audio is beside the codec's own."""

    metrics = {  # noqa: RUF012 - a constant of the class
        "train": ("loss", "grad_norm"),
        "valid": ("loss", "mel_db", "mel_db_codec"),
    }
