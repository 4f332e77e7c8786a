"""MusicGen: music from text, and with some models from a melody, a style, or a plan of chords."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import ModelFamily, Release
from audiocraft.families._kinds import LANGUAGE_MODEL, NON_COMMERCIAL, token_settings

CONTINUES = frozenset({"continuation"})


def _recognises(config: Mapping[str, Any]) -> bool:
    """Return whether this is a transformer that predicts the next token; also one of the first releases, which named
    neither solver nor model."""
    return "transformer_lm" in config and config.get("lm_model", "transformer_lm") == "transformer_lm"


def _released(size: str, *takes: str, channels: int = 1) -> Release:
    return Release(
        repo=f"facebook/musicgen-{size}",
        aliases=(size, f"musicgen-{size}"),
        takes=CONTINUES.union(takes),
        sample_rate=32000,
        channels=channels,
        window=30.0,
        guidance=3.0,
        licence=NON_COMMERCIAL,
    )


FAMILY = ModelFamily(
    name="musicgen",
    title="MusicGen",
    kind=LANGUAGE_MODEL,
    config="audiocraft.config.networks:LMConfig",
    build="audiocraft.models.loaders:build_complete_lm",
    facade="audiocraft.models.musicgen:MusicGen",
    makes="music",
    parts="audiocraft.models.loaders:parts_of_lm",
    solvers=("musicgen",),
    model_types=("musicgen", "musicgen_melody"),
    recognises=_recognises,
    default=True,
    inputs={"score": "plan", "chroma_stem": "melody", "style": "style"},
    always_takes=CONTINUES,
    precisions=("fp32", "bf16", "fp16", "int8", "int4"),
    settings=token_settings,
    needs={"style": "style"},
    releases=(
        Release(repo="musicgen-nano", aliases=("nano",)),
        _released("small"),
        _released("medium"),
        _released("large"),
        _released("melody", "melody"),
        _released("melody-large", "melody"),
        _released("style", "style"),
        _released("stereo-small", channels=2),
        _released("stereo-medium", channels=2),
        _released("stereo-large", channels=2),
        _released("stereo-melody", "melody", channels=2),
        _released("stereo-melody-large", "melody", channels=2),
        Release(
            repo="debug",
            takes=CONTINUES | {"plan"},
            sample_rate=32000,
            channels=1,
            window=4.0,
            guidance=3.0,
            licence="MIT",
            built_in=True,
        ),
    ),
)
