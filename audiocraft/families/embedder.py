"""The embedder that measures of sets of sounds listen with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import ModelFamily, Release
from audiocraft.families._kinds import EMBEDDER


def _recognises(config: Mapping[str, Any]) -> bool:
    return {"widths", "dimension", "instruments", "thresholds"} <= config.keys()


FAMILY = ModelFamily(
    name="embedder",
    title="embedder of sounds",
    kind=EMBEDDER,
    config="audiocraft.config.embedding:EmbedderConfig",
    build="audiocraft.metrics.embedder:build_embedder",
    load="audiocraft.metrics.embedder:load_embedder",
    solvers=("embedder",),
    recognises=_recognises,
    releases=(Release(repo="embedder-nano"),),
)
