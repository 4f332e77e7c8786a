"""MultiBandDiffusion: audio from the codes of a codec by diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import ModelFamily, NetworkKind, Release
from audiocraft.families._kinds import NON_COMMERCIAL

DIFFUSION = NetworkKind(
    name="diffusion",
    title="diffusion decoder",
    release_file="mbd_musicgen_32khz.th",
    weights_of_runs=(("ema", "state", "model"), ("best_state", "model"), ("model",)),
)


def _recognises(config: Mapping[str, Any]) -> bool:
    return "bands" in config and "sample_rate" in config


def _knows_file(package: Mapping[Any, Any]) -> bool:
    first = package.get(0, package.get("0"))
    return "n_bands" in package and isinstance(first, Mapping) and "model_state" in first


FAMILY = ModelFamily(
    name="mbd",
    title="MultiBandDiffusion",
    kind=DIFFUSION,
    decodes=True,
    config="audiocraft.config.diffusion:MultiBandConfig",
    build="audiocraft.models.multibanddiffusion:build_bands",
    load="audiocraft.models.diffusion_decoder:load_diffusion_decoder",
    solvers=("diffusion",),
    recognises=_recognises,
    knows_file=_knows_file,
    read_file="audiocraft.checkpoints.torch_files.multiband:read_multiband",
    releases=(
        Release(
            repo="facebook/multiband-diffusion",
            aliases=("multiband-diffusion", "mbd", "diffusion"),
            sample_rate=32000,
            channels=1,
            licence=NON_COMMERCIAL,
        ),
    ),
)
