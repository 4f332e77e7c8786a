"""Training an embedder: resumed exactly, exported with the words that it may be asked about; and what a language model
makes is measured in the stage `evaluate`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.config.compose import compose
from audiocraft.config.training import EmbedderSolverConfig
from audiocraft.errors import ConfigError
from audiocraft.metrics.embedder import load_embedder
from audiocraft.solvers.labelled_crops import LabelledCrops
from audiocraft.solvers.musicgen import MusicGenSolver
from audiocraft.solvers.runs import export

from ..tiny_embedder import write_tiny
from .conftest import RATE, SMALL, run_until
from .test_settings import history


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones that are called piano, noises that are called drums, and clicks that are rain between two seconds."""
    root = tmp_path_factory.mktemp("labelled")
    random = np.random.default_rng(2)
    for split in ("train", "valid"):
        lines = []
        for clip in range(12):
            path = root / split / f"clip_{clip}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            time = np.arange(RATE) / RATE
            wav = 0.2 * (np.sin(2 * np.pi * 440 * time) if clip % 2 else random.standard_normal(RATE))
            soundfile.write(path, wav, RATE, subtype="PCM_16")
            told: dict[str, object] = {"instruments": ["piano" if clip % 2 else "drums"], "style": "jazz"}
            if clip >= 10:
                told = {"events": [{"kind": "rain", "start": 0.0, "end": 0.4}]}
            path.with_suffix(".json").write_text(json.dumps(told))
            lines.append(json.dumps({"path": f"{split}/{path.name}", "duration": 1.0, "sample_rate": RATE}))
        manifest = root / "egs" / split / "data.jsonl.gz"
        manifest.parent.mkdir(parents=True)
        # Paths are relative to the folder that holds `egs`.
        manifest.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return root


@pytest.fixture(scope="module")
def overrides(labelled: Path) -> list[str]:
    return [
        "solver=embedder/nano",
        *(setting for setting in SMALL if "evaluate" not in setting),
        f"datasource.root={labelled}",
        "datasource.train=egs/train",
        "datasource.valid=egs/valid",
        "datasource.generate=egs/valid",
        "datasource.mix=[]",
        "compression_model_checkpoint=null",
        "dataset.segment_duration=1.0",
        "window=0.5",
        "hop=0.5",
        "n_fft=256",
        "bands=8",
        "widths=[4,8]",
        "dimension=6",
        "instruments=[piano,drums]",
        "sounds=[rain]",
        "styles=[jazz,rock]",
        "moods=[]",
    ]


def test_an_interrupted_run_equals_one_in_one_piece_and_exports(overrides: list[str], tmp_path: Path) -> None:
    whole = run_until(overrides, tmp_path / "whole")
    assert run_until(overrides, tmp_path / "parts", steps=2).step == 2
    torch.manual_seed(999)
    parts = run_until(overrides, tmp_path / "parts")
    assert whole.step == parts.step == 6
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name
    assert list((tmp_path / "whole").glob("samples/*/*.wav"))
    exported = load_embedder(export(tmp_path / "whole", tmp_path / "out"))
    assert exported.config.thresholds.keys() <= {"piano", "drums"}  # of rain there are too few recordings
    assert exported.embed(torch.randn(RATE)).shape == (2, 6)


def test_labels_are_those_of_the_window(overrides: list[str]) -> None:
    config = compose(overrides)
    assert isinstance(config, EmbedderSolverConfig)
    crops = LabelledCrops(config, "valid", None)
    seen = set()
    for wav, known in crops.recordings():
        assert wav.shape == (RATE,)
        seen.add((known.instruments.tolist().__str__(), known.style, len(known.events)))
    assert seen == {("[1.0, 0.0]", 0, 0), ("[0.0, 1.0]", 0, 0), ("[0.0, 0.0]", -1, 1)}
    for batch in crops.fixed():
        assert batch.windows.shape[1:] == (2, RATE // 2)
        rainy = batch.sounds[batch.sounds.sum((1, 2)) > 0]
        assert bool((rainy == torch.tensor([[1.0], [0.0]])).all())


def test_a_word_that_the_embedder_does_not_have_is_named(overrides: list[str]) -> None:
    config = compose([*overrides, "instruments=[piano]"])
    assert isinstance(config, EmbedderSolverConfig)
    with pytest.raises(ConfigError, match="'drums'"):
        list(LabelledCrops(config, "valid", None).recordings())


def test_what_a_language_model_makes_is_measured(lm_overrides: list[str], tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    settings = [
        "evaluate.every=1",
        "evaluate.metrics={base: true, fad: true, kld: true, chroma_cosine: true}",
        "evaluate.fixed_generation_duration=0.3",
        f"metrics.fad.embedder.name={tiny}",
        f"metrics.kld.embedder.name={tiny}",
        "metrics.chroma_cosine.chroma_base.radix2_exp=11",
    ]
    solver = run_until([*lm_overrides, *settings], tmp_path / "run")
    assert isinstance(solver, MusicGenSolver)
    entries = [entry for entry in history(tmp_path / "run") if entry["stage"] == "evaluate"]
    assert len(entries) == 2
    assert {"ce", "fad", "kld", "kld_both", "chroma_cosine"} <= entries[-1].keys()
    assert all(np.isfinite(entries[-1][name]) for name in ("fad", "kld", "chroma_cosine"))
    again = run_until(
        [
            *lm_overrides,
            *settings,
            "execute_only=evaluate",
            "execute_inplace=true",
            "metrics.fad.use_gt=true",
        ],
        tmp_path / "run",
    )
    assert again.step == solver.step
    last = [entry for entry in history(tmp_path / "run") if entry["stage"] == "evaluate"][-1]
    assert last["kld"] == pytest.approx(entries[-1]["kld"], rel=1e-3)
    assert last["fad"] != entries[-1]["fad"]  # of the recordings through the codec
