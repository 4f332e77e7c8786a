"""Every entry point composes and decodes; mistakes on the command line are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import omegaconf
import pytest

from audiocraft.config.compose import _by_hydra, compose, compose_tree, config_folder, entry_points, signature
from audiocraft.config.training import MusicGenSolverConfig, SolverConfig
from audiocraft.errors import ConfigError


@pytest.mark.parametrize("name", entry_points())
def test_entry_points_decode(name: str) -> None:
    """Keys that no code reads, and values of the wrong kind, would not get past this."""
    config = compose([f"solver={name}"])
    assert config.total_steps > 0
    assert isinstance(config, SolverConfig)
    assert config.network


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["solver=compression/nano", "optim.lrr=1"], "optim.lrr: unknown key, did you mean 'optim.lr'"),
        (["solver=compression/nano", "optim.lr=fast"], "optim.lr: expected float"),
        (["solver=compression/nan"], "did you mean 'solver/compression/nano'"),
        (["solver=compression/nano", "dset=audio/nan"], "did you mean 'dset/audio/nano"),
        (["solver=compression/nano", "+optim.warp=1"], "optim.warp: unknown key"),
        (["solver=compression/nano", "losses.mell=1"], "losses.mell: unknown key, did you mean 'losses.mel'"),
        (["solver=compression/nano", "dset=audio/default"], "no value for datasource.max_channels"),
        (["optim.lr=1"], "no solver chosen"),
    ],
)
def test_mistakes_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=r".") as caught:
        compose(overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize("conditioner", ["chroma2music", "style2music"])
def test_conditioners_of_models_that_listen(conditioner: str) -> None:
    config = compose(["solver=musicgen/musicgen_base_32khz", f"conditioner={conditioner}"])
    assert isinstance(config, MusicGenSolverConfig)
    assert config.fuser.prepend == ("self_wav", "description")


def test_signature_ignores_order() -> None:
    assert signature(["a=1", "b=2"]) == signature(["b=2", "a=1"]) != signature(["a=1"])


def test_a_configuration_is_composed_once_and_again_when_a_file_changes(tmp_path: Path) -> None:
    """Whoever changes what was composed changes their own; a file that is edited is read again."""
    folder = tmp_path / "config"
    shutil.copytree(config_folder(), folder)
    words = ["solver=compression/debug"]
    first = compose_tree(words, folder=folder)
    before = dict(first["optim"])
    first["optim"]["lr"] = "mine"
    assert compose_tree(words, folder=folder)["optim"] == before
    path = folder / "solver" / "compression" / "debug.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "\nseed: 4711\n", encoding="utf-8")
    assert compose_tree(words, folder=folder)["seed"] == 4711


@pytest.mark.parametrize(
    "words",
    [
        ["label='a b, c'", "seed=7", "datasource.root=/tmp/x y", "optim.lr=1e-3"],
        [
            "dataset.valid={num_samples: 1}",
            "dataset.valid.segment_duration=0.5",
            "label=null",
            "seed=1",
            "seed=2",
        ],
        ["label=${seed}", "seed=9", "+optim.warp=1", "dset=audio/nano"],
    ],
)
def test_values_are_put_as_hydra_puts_them(words: list[str]) -> None:
    """Quotes, records in records, the last of two, references, additions and groups among them."""
    words = ["solver=compression/nano", *words]
    by_hydra = _by_hydra(config_folder(), words)
    assert compose_tree(words) == omegaconf.OmegaConf.to_container(by_hydra, resolve=True)
