"""MAGNeT: music and sounds from text, all frames at once, by filling in what is masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import Makes, ModelFamily, Release
from audiocraft.config.decode import decode
from audiocraft.config.magnet import MaskedDecodingConfig
from audiocraft.config.settings import RESCORER_WEIGHT
from audiocraft.errors import ConfigError
from audiocraft.families._kinds import LANGUAGE_MODEL, NON_COMMERCIAL

TAKES = frozenset({"continuation", "keep"})


def _recognises(config: Mapping[str, Any]) -> bool:
    return config.get("lm_model") == "transformer_lm_magnet"


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a masked model does where a request does not say: what its file declares, else as released ones."""
    try:
        own = decode(MaskedDecodingConfig, config.get("decoding") or {}, where="decoding")
    except ConfigError:  # loading it will say what is wrong
        own = MaskedDecodingConfig()
    return {
        "temperature": own.temp,
        "top_k": own.top_k,
        "top_p": own.top_p,
        "guidance": own.max_cfg_coef,
        "least_guidance": own.min_cfg_coef,
        "decoding_steps": list(own.decoding_steps),
        "span_arrangement": own.span_arrangement,
        "anneal": own.anneal_temp,
        "rescorer": None,
        "rescorer_weight": RESCORER_WEIGHT,
    }


def _released(name: str, window: float, *, sample_rate: int = 32000) -> Release:
    return Release(
        repo=f"facebook/{name}",
        aliases=(name,),
        family_aliases=(name.removeprefix("magnet-"),) if name.startswith("magnet-") else (),
        takes=TAKES,
        sample_rate=sample_rate,
        channels=1,
        window=window,
        guidance=10.0,
        licence=NON_COMMERCIAL,
    )


def _family(name: str, title: str, makes: Makes, solver: str, *releases: Release) -> ModelFamily:
    return ModelFamily(
        name=name,
        title=title,
        kind=LANGUAGE_MODEL,
        config="audiocraft.config.magnet:MagnetConfig",
        build="audiocraft.models.loaders:build_complete_magnet",
        facade="audiocraft.models.magnet:MAGNeT",
        makes=makes,
        parts="audiocraft.models.loaders:parts_of_lm",
        solvers=(solver,),
        recognises=_recognises,
        inputs={"score": "plan"},
        always_takes=TAKES,
        precisions=("fp32", "bf16", "fp16", "int8", "int4"),
        settings=_settings,
        releases=releases,
    )


# Their networks are alike, so that no configuration tells them apart: the file says it, or the solver.
FAMILIES = (
    _family(
        "magnet",
        "MAGNeT",
        "music",
        "magnet",
        Release(repo="magnet-nano"),
        _released("magnet-small-10secs", 10.0),
        _released("magnet-medium-10secs", 10.0),
        _released("magnet-small-30secs", 30.0),
        _released("magnet-medium-30secs", 30.0),
    ),
    _family(
        "audio-magnet",
        "MAGNeT for sounds",
        "sound",
        "audio_magnet",
        _released("audio-magnet-small", 10.0, sample_rate=16000),
        _released("audio-magnet-medium", 10.0, sample_rate=16000),
    ),
)
