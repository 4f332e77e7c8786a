"""The Descript Audio Codec: audio to codes and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import ModelFamily, Release
from audiocraft.families._kinds import CODEC


def _recognises(config: Mapping[str, Any]) -> bool:
    return config.get("compression_model") == "dac"


def _released(size: str, rate: int) -> Release:
    return Release(repo=f"descript/dac_{size}", aliases=(f"dac_{size}",), sample_rate=rate, channels=1)


FAMILY = ModelFamily(
    name="dac",
    title="DAC",
    kind=CODEC,
    decodes=True,
    config="audiocraft.config.networks:CompressionConfig",
    build="audiocraft.models.builders:build_dac",
    load="audiocraft.models.codecs.released:load_dac",
    model_types=("dac",),
    recognises=_recognises,
    releases=(_released("16khz", 16000), _released("24khz", 24000), _released("44khz", 44100)),
)
