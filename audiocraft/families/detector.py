"""The detector that tells recordings from what models make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import ModelFamily, Release
from audiocraft.families._kinds import DETECTOR


def _recognises(config: Mapping[str, Any]) -> bool:
    return {"mpd", "msd", "msstftd", "calibration"} <= config.keys()


FAMILY = ModelFamily(
    name="detector",
    title="detector of generated audio",
    kind=DETECTOR,
    config="audiocraft.config.analysis:DetectorConfig",
    build="audiocraft.models.detectors.detector:build_detector",
    load="audiocraft.models.detectors.detector:load_detector",
    solvers=("analysis",),
    recognises=_recognises,
    releases=(Release(repo="analysis-nano"),),
)
