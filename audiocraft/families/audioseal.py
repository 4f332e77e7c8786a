"""AudioSeal: an inaudible mark in audio, and what finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import ModelFamily, Release
from audiocraft.checkpoints.torch_files.header import is_audioseal
from audiocraft.families._kinds import WATERMARK


def _recognises(config: Mapping[str, Any]) -> bool:
    return "audioseal" in config


FAMILY = ModelFamily(
    name="audioseal",
    title="AudioSeal",
    kind=WATERMARK,
    config="audiocraft.config.watermark:WatermarkConfig",
    build="audiocraft.models.watermark:build_watermark",
    load="audiocraft.models.loaders:load_audioseal_models",
    solvers=("watermark",),
    recognises=_recognises,
    knows_file=is_audioseal,
    read_file="audiocraft.checkpoints.torch_files.audioseal:read_audioseal",
    releases=(
        Release(repo="audioseal-nano", sample_rate=16000, channels=1),
        Release(
            repo="facebook/audioseal",
            aliases=("audioseal", "audioseal_wm_16bits", "audioseal_detector_16bits"),
            family_aliases=("base",),
            sample_rate=16000,
            channels=1,
            licence="MIT",
        ),
    ),
)
