"""MAGNeT trains on masked spans, and its export is a MAGNeT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from audiocraft.config.compose import compose
from audiocraft.config.flow_training import JascoSolverConfig
from audiocraft.config.magnet_training import AudioMagnetSolverConfig, MagnetSolverConfig
from audiocraft.generation.masked_spans import random_spans, spans_for
from audiocraft.models import MAGNeT
from audiocraft.models.builders import build_flow
from audiocraft.models.magnet_builder import build_magnet_lm
from audiocraft.solvers.magnet import MagnetSolver
from audiocraft.solvers.runs import export
from audiocraft.train import train

from .recipes import SMALL, splits


@pytest.fixture(scope="module")
def run(recipes: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "masked"
    assert train(recipes["magnet"], folder=folder)
    return folder


def test_every_codebook_is_measured(run: Path) -> None:
    entries = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    valid = [entry for entry in entries if entry["stage"] == "valid"]
    assert valid and all({"ce_q1", "ce_q4", "text_gap", "plan_gap"} <= entry.keys() for entry in valid)


def test_export_is_a_magnet(run: Path, codec_run: Path, tmp_path: Path) -> None:
    export(codec_run, tmp_path / "codec")
    model = MAGNeT.get_pretrained(str(export(run, tmp_path / "lm", codec=str(tmp_path / "codec"))))
    assert model.decoding.decoding_steps == (2, 1) and model.lm.span_len == 2 and model.takes_plans
    model.duration = 1.0
    assert model.generate(["tone number 1"]).shape[-1] == 24 * 960


def test_recipes() -> None:
    assert isinstance(compose(["solver=magnet/magnet_32khz", "dset=audio/example"]), MagnetSolverConfig)
    sounds = compose(
        ["solver=magnet/audio_magnet_16khz", "compression_model_checkpoint=x", "dset=audio/example"]
    )
    assert isinstance(sounds, AudioMagnetSolverConfig)
    assert sounds.network.transformer_lm.subcodes_context == 5 and sounds.network.masking.span_len == 3


@pytest.mark.parametrize(("frames", "length"), [(100, 3), (250, 2), (5, 3), (2, 3)])
def test_spans_mask_what_they_should(frames: int, length: int) -> None:
    random = np.random.default_rng(0)
    shares = [float(random_spans(frames, length, random).float().mean()) for _ in range(300)]
    assert 0 < min(shares) and max(shares) <= 1
    if frames > 50:
        assert abs(np.mean(shares) - 2 / np.pi) < 0.06
        assert spans_for(0.5, frames, length) < frames / 2


@pytest.mark.parametrize("solver", ["magnet", "jasco"])
def test_debug_recipes_take_steps(solver: str, corpus: Path, tmp_path: Path) -> None:
    """Nothing but data has to be said, and the network is tiny."""
    data = [f"datasource.root={corpus}", *splits("train", "valid", "evaluate", "generate")]
    small = [*SMALL, "generate.every=null", "dataset.segment_duration=0.4", "optim.epochs=1"]
    folder = tmp_path / "run"
    assert train([f"solver={solver}/debug", *data, *small], folder=folder)
    entries = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert entries[-1]["step"] == 3


@pytest.mark.parametrize("recipe", ["magnet/magnet_32khz", "jasco/chords_drums"])
def test_networks_of_released_sizes_are_built(recipe: str) -> None:
    """Laid out without memory, and without the text encoder, which is not on this machine."""
    config = compose([f"solver={recipe}", "conditioner=none"])
    if isinstance(config, JascoSolverConfig):
        network = build_flow(config.network, device="meta")
    else:
        assert isinstance(config, MagnetSolverConfig)
        network = build_magnet_lm(config.network, device="meta")
    assert sum(parameter.numel() for parameter in network.parameters()) > 250_000_000


def test_more_steps_are_about_the_first_codebook(recipes: dict[str, list[str]], tmp_path: Path) -> None:
    """As many as the recipe says, and of the others each as often."""

    def stages(*more: str) -> list[int]:
        config = compose([*recipes["magnet"], *more])
        assert isinstance(config, MagnetSolverConfig)
        solver = MagnetSolver(config, tmp_path / str(len(more)))
        return [solver._codebook_of(step) for step in range(400)]

    weighted = stages()
    assert 80 < weighted.count(0) < 160 and all(60 < weighted.count(stage) < 130 for stage in (1, 2, 3))
    assert all(65 < stages("masking.first_share=null").count(stage) < 135 for stage in range(4))
