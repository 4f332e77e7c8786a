"""AudioGen trains on sounds that are told by text alone, and its export is a model that AudioGen loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.config.training import AudioGenSolverConfig
from audiocraft.models import AudioGen
from audiocraft.solvers.runs import export
from audiocraft.train import train


@pytest.fixture(scope="module")
def run(recipes: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of the nano model of sounds, tiny."""
    folder = tmp_path_factory.mktemp("runs") / "sound"
    assert train(recipes["audiogen"], folder=folder)
    return folder


def test_text_is_all_it_listens_to(run: Path) -> None:
    entries = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    valid = [entry for entry in entries if entry["stage"] == "valid"]
    assert valid and all("text_gap" in entry and "plan_gap" not in entry for entry in valid)


def test_export_is_a_model_of_sounds(run: Path, codec_run: Path, tmp_path: Path) -> None:
    export(codec_run, tmp_path / "codec")
    model = AudioGen.get_pretrained(
        str(export(run, tmp_path / "lm", codec=str(tmp_path / "codec"))), device="cpu"
    )
    assert not model.takes_plans and model.max_duration == pytest.approx(0.4)
    model.set_generation_params(duration=1.0, use_sampling=False)
    audio = model.generate(["tone number 1"])
    assert isinstance(audio, torch.Tensor) and audio.shape == (1, 1, 24000)


def test_the_bundled_recipe_trains_on_sounds() -> None:
    config = compose(["solver=audiogen/nano"])
    assert isinstance(config, AudioGenSolverConfig)
    assert config.datasource.train == "egs/sound/train" and list(config.conditioners) == ["description"]
    assert config.compression_model_checkpoint == "nano"
