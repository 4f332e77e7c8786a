"""What tables of flows show."""

from __future__ import annotations

from audiocraft.grids._base_explorers import BaseExplorer


class FlowExplorer(BaseExplorer):
    """This explorer shows the error of the velocity, and how much each condition takes off it."""

    metrics = {  # noqa: RUF012 - a constant of the class
        "train": ("mse", "grad_norm"),
        "valid": ("mse", "text_gap", "chords_gap", "drums_gap"),
    }
