"""MAGNeT trains on masked spans, an interrupted run ends as one that was not, and its export is a MAGNeT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.config.magnet_training import AudioMagnetSolverConfig, MagnetSolverConfig
from audiocraft.generation.masked_spans import random_spans, spans_for
from audiocraft.models import MAGNeT
from audiocraft.solvers.builders import build_solver
from audiocraft.solvers.runs import export
from audiocraft.train import init_seed_and_system, train

from .conftest import SMALL, stop_after


def settings(corpus: Path, codec_run: Path, folder: Path) -> list[str]:
    splits = {"train": "train", "valid": "valid", "evaluate": "heldout", "generate": "heldout"}
    return [
        "solver=magnet/nano",
        *SMALL,
        "continue_from=null",
        "autocast=false",
        "evaluate.every=null",
        f"datasource.root={corpus}",
        *(f"datasource.{use}=egs/music/{split}" for use, split in splits.items()),
        f"cache.path={folder / 'tokens'}",
        f"compression_model_checkpoint={codec_run}",
        "dataset.segment_duration=0.4",
        "transformer_lm.dim=16",
        "transformer_lm.num_heads=2",
        "transformer_lm.num_layers=1",
        "transformer_lm.card=16",
        "generate.lm.decoding_steps=[2,1]",
        "decoding.decoding_steps=[2,1]",
        "conditioners.description.bag_of_words.n_bins=64",
        "conditioners.description.bag_of_words.dim=8",
    ]


@pytest.fixture(scope="module")
def run(corpus: Path, codec_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "masked"
    assert train(settings(corpus, codec_run, folder.parent), folder=folder)
    return folder


def test_every_codebook_is_measured(run: Path) -> None:
    entries = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    valid = [entry for entry in entries if entry["stage"] == "valid"]
    assert valid and all({"ce_q1", "ce_q4", "text_gap", "plan_gap"} <= entry.keys() for entry in valid)


def test_an_interrupted_run_ends_as_another(run: Path, corpus: Path, codec_run: Path, tmp_path: Path) -> None:
    config = compose(settings(corpus, codec_run, run.parent))
    init_seed_and_system(config)
    solver = build_solver(config, tmp_path)
    stop_after(solver, 2)
    solver.run()
    assert train(settings(corpus, codec_run, run.parent), folder=tmp_path)
    whole, parted = (build_solver(config, folder) for folder in (run, tmp_path))
    for each in (whole, parted):
        each.restore()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parted.model.state_dict()[name]), name


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
