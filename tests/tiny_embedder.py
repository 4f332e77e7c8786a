"""An embedder of a few thousand weights, untrained, for tests of what is around it."""

from __future__ import annotations

from pathlib import Path

import torch

from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.config.embedding import EmbedderConfig
from audiocraft.metrics.embedder import Embedder

CONFIG = EmbedderConfig(
    widths=(4, 8),
    bands=16,
    dimension=12,
    instruments=("piano", "drums"),
    sounds=("rain",),
    styles=("jazz", "rock"),
    moods=("calm",),
    thresholds={"piano": 0.5, "rain": 0.5},
)


def tiny_embedder(config: EmbedderConfig = CONFIG, *, seed: int = 3) -> Embedder:
    """An embedder whose averages have seen some noise, so that its vectors differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        embedder = Embedder(config).train()
        for _ in range(3):
            embedder(0.1 * torch.randn(8, embedder.window_samples))
    return embedder.eval().requires_grad_(False)


def write_tiny(folder: Path, *, seed: int = 3) -> Path:
    """The same as a model folder."""
    return write_model(
        folder,
        kind="embedder",
        family="embedder",
        config=encode(CONFIG),
        tensors=tiny_embedder(seed=seed).state_dict(),
    )
