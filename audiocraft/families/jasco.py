"""JASCO: music from text, and from chords, drums and a melody at their times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import ModelFamily, Release
from audiocraft.config.decode import decode
from audiocraft.config.flow import FlowDecodingConfig
from audiocraft.config.settings import FLOWS
from audiocraft.errors import ConfigError
from audiocraft.families._kinds import LANGUAGE_MODEL, NON_COMMERCIAL

TAKES = frozenset({"continuation", "keep"})


def _recognises(config: Mapping[str, Any]) -> bool:
    return config.get("lm_model") == "flow_matching"


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a flow is followed where a request does not say: as its file declares, else as suits any."""
    try:
        own = decode(FlowDecodingConfig, config.get("decoding") or {}, where="decoding")
    except ConfigError:  # loading it will say what is wrong
        own = FlowDecodingConfig()
    return {**FLOWS, "flow_steps": own.flow_steps, "guidance_text": own.cfg_coef_txt}


def _released(name: str, *takes: str) -> Release:
    return Release(
        repo=f"facebook/jasco-{name}",
        aliases=(f"jasco-{name}",),
        takes=TAKES.union(takes),
        sample_rate=32000,
        channels=1,
        window=10.0,
        guidance=3.0,
        licence=NON_COMMERCIAL,
    )


FAMILY = ModelFamily(
    name="jasco",
    title="JASCO",
    # Its weights are where those of language models are, though it predicts no next token.
    kind=LANGUAGE_MODEL,
    config="audiocraft.config.flow:FlowConfig",
    build="audiocraft.models.builders:build_flow",
    facade="audiocraft.models.jasco:JASCO",
    makes="music",
    parts="audiocraft.models.loaders:parts_of_flow",
    solvers=("jasco",),
    recognises=_recognises,
    inputs={"score": "plan", "chords_emb": "chords", "drum_latents": "drums", "melody": "melody"},
    always_takes=TAKES,
    precisions=("fp32", "bf16", "fp16", "int8", "int4"),
    settings=_settings,
    # Releases carry the codec a second time, for those who hear drums through a copy of their own.
    carries="condition_provider.conditioners.self_wav.compression_model.model.",
    releases=(
        Release(repo="jasco-nano"),
        _released("chords-drums-400M", "chords", "drums"),
        _released("chords-drums-1B", "chords", "drums"),
        _released("chords-drums-melody-400M", "chords", "drums", "melody"),
        _released("chords-drums-melody-1B", "chords", "drums", "melody"),
    ),
)
