"""A corpus of tones small enough to train on in a test, and runs that stop where a test wants."""

from __future__ import annotations

import gzip
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiocraft.config.compose import compose
from audiocraft.config.training import SolverConfig
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.builders import build_solver
from audiocraft.train import init_seed_and_system, train

RATE, SECONDS, CLIPS = 24000, 1.0, 4


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of one tone each, with labels, in the layout of `audiocraft data synthesize`."""
    root = tmp_path_factory.mktemp("corpus")
    for number, split in enumerate(("train", "valid", "heldout")):
        lines = []
        for clip in range(CLIPS):
            path = root / "music" / split / "0000" / f"clip_{clip:08d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            time = np.arange(int(RATE * SECONDS)) / RATE
            soundfile.write(
                path, 0.3 * np.sin(2 * np.pi * (220 + 40 * clip + 7 * number) * time), RATE, subtype="PCM_16"
            )
            labels = {
                "captions": [f"tone number {clip}", f"{clip} hums"],
                "bpm": 100 + clip,
                "key": "A minor",
                "chords": [[0.0, "Am"], [0.5, "F"]],
                "first_beat": 0.0,
                "beats_per_bar": 4,
            }
            path.with_suffix(".json").write_text(json.dumps(labels))
            relative = path.relative_to(root).as_posix()
            lines.append(json.dumps({"path": relative, "duration": SECONDS, "sample_rate": RATE}))
        manifest = root / "egs" / "music" / split / "data.jsonl.gz"
        manifest.parent.mkdir(parents=True)
        manifest.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return root


SMALL = [
    "device=cpu",
    "num_threads=1",
    "dataset.batch_size=2",
    "dataset.valid.num_samples=2",
    "dataset.valid.batch_size=2",
    "dataset.generate.num_samples=1",
    "dataset.generate.batch_size=1",
    "dataset.evaluate.num_samples=2",
    "dataset.evaluate.batch_size=2",
    "optim.epochs=2",
    "optim.updates_per_epoch=3",
    "schedule.cosine.warmup=1",
    "generate.every=1",
    "logging.log_updates=3",
]


def stop_after(solver: StandardSolver, steps: int) -> None:
    """Asks the run to end once this many steps are done, as a signal would."""
    train_step = solver.train_step

    def counted(batch: Any) -> object:
        metrics = train_step(batch)
        if solver.step + 1 == steps:
            solver.stop.set()
        return metrics

    solver.train_step = counted


@cache
def composed(overrides: tuple[str, ...]) -> SolverConfig:
    """Composing is a third of a run of six steps, and many runs here are asked for with the same words."""
    return compose(overrides)


def run_until(overrides: list[str], folder: Path, *, steps: int | None = None) -> StandardSolver:
    """A run from where the folder's last one ended to its own end, or to `steps`."""
    config = composed(tuple(overrides))
    init_seed_and_system(config)
    solver = build_solver(config, folder)
    solver.restore()
    if steps is not None:
        stop_after(solver, steps)
    solver.run()
    return solver


@pytest.fixture(scope="session")
def codec_overrides(corpus: Path) -> list[str]:
    """The nano codec, tiny: six steps, the adversary from the third on."""
    return [
        "solver=compression/nano_seanet",
        *SMALL,
        f"datasource.root={corpus}",
        "datasource.mix=[]",
        "dataset.segment_duration=0.16",
        "dataset.generate.segment_duration=0.2",
        "seanet.n_filters=2",
        "seanet.dimension=8",
        "rvq.bins=16",
        "rvq.kmeans_iters=2",
        "quantize_from=1",
        "losses.adv=1.0",
        "losses.feat=1.0",
        "adversarial.every=2",
        "msstftd.filters=2",
        "adversarial.start_step=2",
    ]


@pytest.fixture(scope="session")
def lm_overrides(corpus: Path, codec_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The nano language model, tiny."""
    return [
        "solver=musicgen/nano",
        *SMALL,
        f"datasource.root={corpus}",
        f"cache.path={tmp_path_factory.mktemp('tokens')}",
        f"compression_model_checkpoint={codec_run}",
        "dataset.segment_duration=0.4",
        "transformer_lm.dim=16",
        "transformer_lm.num_heads=2",
        "transformer_lm.num_layers=1",
        "transformer_lm.card=16",
        "conditioners.description.bag_of_words.n_bins=64",
        "conditioners.description.bag_of_words.dim=8",
    ]


@pytest.fixture(scope="session")
def codec_run(codec_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished codec run."""
    folder = tmp_path_factory.mktemp("runs") / "codec"
    assert train(codec_overrides, folder=folder)
    return folder


@pytest.fixture(scope="session")
def lm_run(lm_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of a language model."""
    folder = tmp_path_factory.mktemp("runs") / "lm"
    assert train(lm_overrides, folder=folder)
    return folder


@pytest.fixture
def finished_codec_run(codec_run: Path, tmp_path: Path) -> Path:
    """A finished codec run that a test may change."""
    return Path(shutil.copytree(codec_run, tmp_path / "finished"))


@pytest.fixture(scope="session")
def _stopped(codec_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    assert run_until(codec_overrides, folder, steps=2).step == 2
    return folder


@pytest.fixture
def stopped_codec_run(_stopped: Path, tmp_path: Path) -> Path:
    """A codec run that was stopped after two of its six steps, and that a test may change."""
    return Path(shutil.copytree(_stopped, tmp_path / "stopped"))
