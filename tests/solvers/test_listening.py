"""Language models that hear the sound itself while they train: melody and style."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.errors import ConfigError
from audiocraft.solvers.builders import build_solver
from audiocraft.solvers.lm_steps import drop_conditions
from audiocraft.solvers.musicgen import MusicGenSolver

from .conftest import run_until
from .test_training import history

MELODY = [
    "conditioner=chroma2music",
    "~conditioners.description",
    "fuser.prepend=[self_wav]",
    "conditioners.self_wav.chroma_stem.radix2_exp=10",
]
STYLE = [
    "conditioner=style2music",
    "~conditioners.description",
    "fuser.prepend=[self_wav]",
    "conditioners.self_wav.style.model_name=encodec",
    "conditioners.self_wav.style.transformer_scale=xsmall",
    "conditioners.self_wav.style.length=0.3",
    "conditioners.self_wav.style.varying_lengths=[0.2,0.4]",
    "conditioners.self_wav.style.ds_factor=2",
    "conditioners.self_wav.style.encodec_n_q=2",
    "conditioners.self_wav.style.bins=8",
]


def listening(lm_overrides: list[str], codec_run: Path, kind: str) -> list[str]:
    kept = [item for item in lm_overrides if not item.startswith("conditioners.description")]
    extra = (
        MELODY
        if kind == "melody"
        else [*STYLE, f"conditioners.self_wav.style.encodec_checkpoint={codec_run}"]
    )
    return [*kept, *extra]


@pytest.mark.parametrize("kind", ["melody", "style"])
def test_a_model_that_listens_trains_and_goes_on_exactly(
    lm_overrides: list[str], codec_run: Path, tmp_path: Path, kind: str
) -> None:
    overrides = listening(lm_overrides, codec_run, kind)
    whole = run_until(overrides, tmp_path / "whole")
    run_until(overrides, tmp_path / "parts", steps=2)
    run_until(overrides, tmp_path / "parts", steps=4)
    parts = run_until(overrides, tmp_path / "parts")
    assert history(tmp_path / "whole") == history(tmp_path / "parts")
    states = whole.model.state_dict(), parts.model.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    valid = [entry for entry in history(tmp_path / "whole") if entry["stage"] == "valid"]
    assert all("sound_gap" in entry for entry in valid)
    assert list((tmp_path / "whole" / "samples").rglob("*.wav"))


def test_a_row_hears_its_own_segment_and_forgets_it_as_often_as_told(
    lm_overrides: list[str], codec_run: Path, tmp_path: Path
) -> None:
    solver = build_solver(compose(listening(lm_overrides, codec_run, "melody")), tmp_path)
    assert isinstance(solver, MusicGenSolver)
    crops = solver.crops("train")
    batch = crops.batch([crops.sampler.fixed(row) for row in range(4)])
    heard = [row.wav["self_wav"] for row in batch.attributes]
    assert all(wav.wav.shape == (1, 1, round(0.4 * 24000)) and float(wav.wav.std()) > 0.01 for wav in heard)
    settings = solver.config
    dropout = settings.attribute_dropout, settings.classifier_free_guidance, crops.sampler.fixed(0).random
    kept = [
        int(drop_conditions(row, *dropout).wav["self_wav"].length)
        for row in batch.attributes
        for _ in range(50)
    ]
    assert 0.45 < sum(length == 0 for length in kept) / len(kept) < 0.75  # 1 - 0.8 * 0.5


def test_a_file_that_goes_away_costs_its_sound_alone(
    lm_overrides: list[str], codec_run: Path, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "corpus"
    shutil.copytree(corpus, place)
    overrides = listening(lm_overrides, codec_run, "melody")
    places = [f"datasource.root={place}", f"cache.path={tmp_path / 'codes'}"]
    solver = build_solver(compose([*overrides, *places]), tmp_path / "run")
    assert isinstance(solver, MusicGenSolver)
    crops = solver.crops("train")
    for path in (place / "music" / "train").rglob("*.wav"):
        path.write_bytes(b"not audio")
    batch = crops.batch([crops.sampler.fixed(row) for row in range(2)])
    assert all(int(row.wav["self_wav"].length) == 0 for row in batch.attributes)
    assert "told nothing by its sound" in caplog.text
    assert torch.isfinite(solver.train_step(batch)["ce"])


def test_a_listener_has_one_name(lm_overrides: list[str], codec_run: Path, tmp_path: Path) -> None:
    overrides = [
        item.replace("[self_wav]", "[tune]") for item in listening(lm_overrides, codec_run, "melody")
    ]
    chroma = "{model: chroma_stem, chroma_stem: {sample_rate: 24000, radix2_exp: 10}}"
    with pytest.raises(ConfigError, match="call it self_wav"):
        build_solver(
            compose([*overrides, "~conditioners.self_wav", f"+conditioners.tune={chroma}"]), tmp_path
        )
