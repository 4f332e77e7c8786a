"""Groups and names of the original's configuration that recipes of its users choose."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from torch import nn

from audiocraft.config.compose import compose, compose_tree, config_folder
from audiocraft.config.conditioning import ChromaStemConfig, StyleConfig
from audiocraft.config.training import CompressionSolverConfig, MusicGenSolverConfig
from audiocraft.errors import ConfigError
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


OURS = """
conditioner/chroma2music conditioner/clapemb2music conditioner/none conditioner/style2music
conditioner/text2music conditioner/text2sound dset/default dset/audio/audiocaps_16khz dset/audio/default
dset/audio/example dset/audio/musiccaps_32khz dset/internal/music_10k_32khz dset/internal/music_400k_32khz
dset/internal/sounds_16khz model/encodec/default model/encodec/encodec_base_causal model/encodec/encodec_large_nq4_s320
model/encodec/encodec_large_nq4_s640 model/lm/audiogen_lm model/lm/default model/lm/musicgen_lm
model/lm/model_scale/base model/lm/model_scale/large model/lm/model_scale/medium model/lm/model_scale/small
model/lm/model_scale/xsmall model/none solver/audiogen/audiogen_base_16khz solver/audiogen/debug solver/audiogen/default
solver/audiogen/evaluation/none solver/audiogen/evaluation/objective_eval solver/compression/debug
solver/compression/default solver/compression/encodec_audiogen_16khz solver/compression/encodec_base_24khz
solver/compression/encodec_musicgen_32khz solver/default solver/musicgen/debug solver/musicgen/default
solver/musicgen/evaluation/none solver/musicgen/evaluation/objective_eval solver/musicgen/musicgen_base_32khz
solver/musicgen/musicgen_melody_32khz solver/musicgen/musicgen_style_32khz teams/default teams/labs
augmentations/default conditioner/chords2music conditioner/drums2music conditioner/jasco_chords_drums
conditioner/jasco_chords_drums_melody model/watermark/default solver/jasco/chords solver/jasco/chords_drums
model/score/basic solver/diffusion/debug solver/diffusion/default solver/diffusion/encodec_24khz
solver/jasco/chords_drums_melody solver/jasco/drums solver/jasco/jasco_32khz_base solver/magnet/audio_magnet_16khz
solver/magnet/magnet_32khz solver/watermark/debug solver/watermark/default solver/watermark/robustness
""".split()
RECIPES = """
musicgen/musicgen_base_32khz musicgen/musicgen_melody_32khz musicgen/musicgen_style_32khz musicgen/debug
audiogen/audiogen_base_16khz audiogen/debug compression/encodec_base_24khz compression/encodec_musicgen_32khz
compression/encodec_audiogen_16khz compression/debug
""".split()


def test_every_file_of_the_original_is_there() -> None:
    here = {
        path.relative_to(config_folder()).with_suffix("").as_posix()
        for path in config_folder().rglob("*.yaml")
    }
    assert set(OURS) <= here


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_compose_decode_and_build(recipe: str) -> None:
    """Networks are laid out without memory; text encoders, which are not on this machine, are left out."""
    kind, _, name = recipe.partition("/")
    conditions = [] if kind == "compression" or name == "debug" else ["conditioner=none"]
    config = compose([f"solver={recipe}", *conditions])
    assert config.solver == kind
    if isinstance(config, MusicGenSolverConfig):
        network: nn.Module = build_lm(config.network, device="meta")
    else:
        assert isinstance(config, CompressionSolverConfig)
        network = build_codec(config.network, device="meta")
    assert all(parameter.is_meta for parameter in network.parameters())


@pytest.mark.parametrize(("recipe", "listener"), [("melody", ChromaStemConfig), ("style", StyleConfig)])
def test_recipes_that_listen(recipe: str, listener: type) -> None:
    config = compose([f"solver=musicgen/musicgen_{recipe}_32khz"])
    assert isinstance(config, MusicGenSolverConfig)
    assert isinstance(config.conditioners["self_wav"], listener) and "self_wav" in config.fuser.prepend


@pytest.mark.parametrize("solver", ["musicgen/musicgen_base_32khz", "audiogen/audiogen_base_16khz"])
def test_evaluations_are_a_group(solver: str) -> None:
    group = f"solver/{solver.partition('/')[0]}/evaluation"
    measured = [
        compose([f"solver={solver}", *more]).evaluate.metrics for more in ([], [f"{group}=objective_eval"])
    ]
    assert not any(measured[0].values())
    assert {name for name, wanted in measured[1].items() if wanted} == {"fad", "kld", "text_consistency"}


@pytest.mark.parametrize(
    "dset",
    [
        "audio/audiocaps_16khz",
        "internal/music_10k_32khz",
        "internal/music_400k_32khz",
        "internal/sounds_16khz",
    ],
)
def test_data_sets_are_named_and_where_they_are_is_not_guessed(dset: str) -> None:
    config = compose(["solver=musicgen/debug", f"dset={dset}"])
    assert config.datasource.train.startswith("egs/") and config.datasource.root is None
    with pytest.raises(ConfigError, match=r"datasource\.train"):
        compose(["solver=musicgen/debug", "dset=audio/musiccaps_32khz"])


SEED = """
device: cuda
dtype: float32
autocast: false
autocast_dtype: bfloat16
seed: 2036
show: false
continue_from:
execute_only:
execute_inplace: false
benchmark_no_load: false
efficient_attention_backend: torch
num_threads: 1
mp_start_method: forkserver
label:
logging:
  level: info
  log_file: null
  log_tensorboard: true
  log_wandb: false
"""


def test_the_seeds_configuration_composes_key_for_key(tmp_path: Path) -> None:
    """A user's own config.yaml of these keys, with the groups of this package."""
    shutil.copytree(config_folder(), tmp_path / "config")
    text = "defaults:\n  - _self_\n  - dset: default\n  - solver: default\n" + SEED
    (tmp_path / "config" / "config.yaml").write_text(text)
    config = compose(["solver=compression/encodec_base_24khz"], folder=tmp_path / "config")
    ours = compose(["solver=compression/encodec_base_24khz"])
    for key, value in yaml.safe_load(SEED).items():
        assert hasattr(ours, key)
        if key != "logging":
            assert getattr(config, key) == value, key
    assert (
        config.logging.level == "INFO" and config.logging.log_tensorboard and config.logging.log_file is None
    )
    keys = compose_tree(["solver=compression/encodec_base_24khz"])
    assert set(yaml.safe_load(SEED)) <= set(keys) and set(yaml.safe_load(SEED)["logging"]) <= set(
        keys["logging"]
    )
