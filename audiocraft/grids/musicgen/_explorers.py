"""What tables of language models show."""

from __future__ import annotations

from audiocraft.grids._base_explorers import BaseExplorer


class LMExplorer(BaseExplorer):
    """This explorer shows the cross-entropy in training and validation."""

    metrics = {  # noqa: RUF012 - a constant of the class
        "train": ("ce", "grad_norm"),
        "valid": ("ce", "text_gap", "plan_gap", "sound_gap"),
    }


class GenerationEvalExplorer(BaseExplorer):
    """This explorer shows measures of models that are trained already."""

    metrics = {"evaluate": ("ce", "fad", "kld", "text_consistency", "chroma_cosine")}  # noqa: RUF012
