"""A corpus of tones small enough to train on in a test, and runs that stop where a test wants."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
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

from . import recipes as recipes_of
from .pair import Pair
from .recipes import SMALL

__all__ = ["CLIPS", "RATE", "SECONDS", "SMALL", "run_until", "stop_after"]

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
    solver = started(overrides, folder)
    if steps is not None:
        stop_after(solver, steps)
    solver.run()
    return solver


def started(overrides: list[str], folder: Path) -> Any:
    """The solver of a run, at the step where the folder's last checkpoint is."""
    config = composed(tuple(overrides))
    init_seed_and_system(config)
    solver = build_solver(config, folder)
    solver.restore()
    return solver


class Killed(BaseException):
    """As SIGKILL, nobody handles it."""


def kill_in(solver: Any, step: int) -> None:
    """The run dies in the middle of a step, after its weights have changed and before anything is written down."""
    train_step = solver.train_step

    def last(batch: Any) -> object:
        metrics = train_step(batch)
        if solver.step + 1 == step:
            raise Killed
        return metrics

    solver.train_step = last


@pytest.fixture(scope="session")
def codec_overrides(corpus: Path) -> list[str]:
    """The nano codec, tiny: six steps, the adversary from the third on."""
    return recipes_of.compression(corpus)


@pytest.fixture(scope="session")
def lm_overrides(recipes: dict[str, list[str]]) -> list[str]:
    """The nano language model, tiny."""
    return recipes["musicgen"]


@pytest.fixture(scope="session")
def recipes(
    corpus: Path, codec_overrides: list[str], codec_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """The overrides of a run of six steps, of each kind that reads the same corpus."""
    of_codes = {
        name: getattr(recipes_of, name)(corpus, codec_run, tmp_path_factory.mktemp("codes"))
        for name in ("musicgen", "audiogen", "magnet", "jasco")
    }
    return {
        "compression": codec_overrides,
        **of_codes,
        "diffusion": recipes_of.diffusion(corpus),
        "watermark": recipes_of.watermark(corpus, "nano"),
        "watermark, adversarial": recipes_of.watermark(corpus, "debug"),
    }


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


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, warm_python: Path) -> Iterator[Pair]:
    """Two ranks, started once."""
    with contextlib.ExitStack() as stack:

        def start(words: list[str], **options: Any) -> subprocess.Popen[str]:
            process = stack.enter_context(subprocess.Popen(words, **options))
            stack.callback(process.kill)
            return process

        both = Pair(start, tmp_path_factory.mktemp("pair"), warm_python)
        yield both
        both.close()
