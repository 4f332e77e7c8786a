"""Groups and names of the original's configuration that recipes of its users choose."""

from __future__ import annotations

import pytest

from audiocraft.config.compose import compose
from audiocraft.config.training import MusicGenSolverConfig
from audiocraft.models.builders import build_codec, build_lm


@pytest.mark.parametrize(
    ("scale", "millions"), [(None, 300), ("small", 300), ("medium", 1400), ("large", 3200)]
)
def test_model_scales(scale: str | None, millions: int) -> None:
    """Sizes as published, the text encoder not counted."""
    chosen = [] if scale is None else [f"model/lm/model_scale={scale}"]
    config = compose(["solver=musicgen/musicgen_base_32khz", "conditioner=none", *chosen])
    assert isinstance(config, MusicGenSolverConfig)
    lm = build_lm(config.network, device="meta")
    found = sum(parameter.numel() for parameter in lm.parameters()) / 1e6
    assert 0.85 * millions <= found <= 1.15 * millions


def test_debug_solvers_are_tiny() -> None:
    for name in ("musicgen", "audiogen"):
        config = compose([f"solver={name}/debug"])
        assert config.solver == name and isinstance(config, MusicGenSolverConfig)
        lm = build_lm(config.network)
        assert sum(parameter.numel() for parameter in lm.parameters()) < 100_000
    codec = build_codec(compose(["solver=compression/debug"]).network)  # type: ignore[attr-defined]
    assert sum(parameter.numel() for parameter in codec.parameters()) < 200_000
