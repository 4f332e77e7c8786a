"""EnCodec, and the codec of our own in its place: audio to codes and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import ModelFamily, Release
from audiocraft.checkpoints.torch_files.header import is_encodec_2022
from audiocraft.families._kinds import CODEC, NON_COMMERCIAL


def _recognises(config: Mapping[str, Any]) -> bool:
    return (
        config.get("compression_model", "encodec") == "encodec"
        and ("encodec" in config or "seanet" in config)
        and "transformer_lm" not in config
    )


def _released(size: str, rate: int, *, channels: int = 1, licence: str | None = None) -> Release:
    name = f"encodec_{size}"
    return Release(
        repo=f"facebook/{name}", aliases=(name,), sample_rate=rate, channels=channels, licence=licence
    )


FAMILY = ModelFamily(
    name="encodec",
    title="EnCodec",
    kind=CODEC,
    decodes=True,
    config="audiocraft.config.networks:CompressionConfig",
    build="audiocraft.models.builders:build_encodec",
    load="audiocraft.models.loaders:load_compression_model",
    solvers=("compression",),
    model_types=("encodec",),
    recognises=_recognises,
    default=True,
    knows_file=is_encodec_2022,
    read_file="audiocraft.checkpoints.torch_files.encodec_2022:read_2022",
    releases=(
        # What a language model is called stands for its codec too.
        Release(repo="nano", aliases=("musicgen-nano", "audiogen-nano")),
        Release(repo="nano-wide"),
        _released("24khz", 24000),
        _released("32khz", 32000, licence=NON_COMMERCIAL),
        _released("48khz", 48000, channels=2),
        Release(repo="debug", sample_rate=32000, channels=1, licence="MIT", built_in=True),
    ),
)
