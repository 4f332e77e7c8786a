"""Groups and names of the original's configuration that recipes of its users choose."""

from __future__ import annotations

import pytest

from audiocraft.config.compose import compose
from audiocraft.config.training import MusicGenSolverConfig
from audiocraft.models.builders import build_codec, build_lm


@pytest.mark.parametrize(
    ("scale", "shape"),
    [
        (None, (1024, 16, 24)),
        ("small", (1024, 16, 24)),
        ("medium", (1536, 24, 48)),
        ("large", (2048, 32, 48)),
    ],
)
def test_model_scales(scale: str | None, shape: tuple[int, int, int]) -> None:
    """Width, heads and layers of the released models; a recipe's own numbers win."""
    chosen = [] if scale is None else [f"model/lm/model_scale={scale}"]
    for own in ([], ["transformer_lm.num_layers=2"]):
        config = compose(["solver=musicgen/musicgen_base_32khz", *chosen, *own])
        assert isinstance(config, MusicGenSolverConfig)
        lm = config.transformer_lm
        assert (lm.dim, lm.num_heads, lm.num_layers) == (*shape[:2], 2 if own else shape[2])


def test_debug_solvers_are_tiny() -> None:
    for name in ("musicgen", "audiogen"):
        config = compose([f"solver={name}/debug"])
        assert config.solver == name and isinstance(config, MusicGenSolverConfig)
        lm = build_lm(config.network)
        assert sum(parameter.numel() for parameter in lm.parameters()) < 100_000
    codec = build_codec(compose(["solver=compression/debug"]).network)  # type: ignore[attr-defined]
    assert sum(parameter.numel() for parameter in codec.parameters()) < 200_000
