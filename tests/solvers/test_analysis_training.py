"""Training a detector: resumed exactly, exported with its calibration, and the two sides get the same treatment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from audiocraft.config.analysis import DegradeConfig
from audiocraft.config.compose import compose
from audiocraft.config.training import AnalysisSolverConfig
from audiocraft.models.detectors.detector import load_detector
from audiocraft.solvers.degrade import degrade
from audiocraft.solvers.pair_cache import DECODED, load_pairs, lossy_copy
from audiocraft.solvers.pairs import PairWindows
from audiocraft.solvers.runs import export, load_codec

from .conftest import run_until


@pytest.fixture(scope="module")
def overrides(corpus: Path, codec_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Six steps of a detector of a few hundred weights."""
    return [
        "solver=analysis/nano",
        "device=cpu",
        "num_threads=1",
        f"datasource.root={corpus}",
        "datasource.mix=[]",
        f"compression_model_checkpoint={codec_run}",
        "fakes={clips: 4, valid_clips: 3, codebooks: [2, 1], formats: 0.5, generators: []}",
        f"fakes.cache={tmp_path_factory.mktemp('pairs')}",
        "dataset.batch_size=2",
        "dataset.segment_duration=0.3",
        "dataset.valid.num_samples=4",
        "dataset.valid.batch_size=2",
        "dataset.generate.num_samples=1",
        "dataset.generate.batch_size=1",
        "window=0.2",
        "hop=0.1",
        "msstftd={filters: 2, n_ffts: [256], hop_lengths: [128], win_lengths: [256]}",
        "msd={scales: [4], filters: 2, max_filters: 8, downsample_scales: [4], inner_kernel_sizes: null, groups: null}",
        "mpd={periods: [2], filters: 2, filter_scales: 1, max_filters: 4}",
        "optim.epochs=2",
        "optim.updates_per_epoch=3",
        "schedule.cosine.warmup=1",
        "calibration_windows=8",
        "calibration_clips=3",
        "domain_windows=16",
        "clusters=2",
        "generate.every=1",
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

    detector = load_detector(export(tmp_path / "whole", tmp_path / "out"))
    assert detector.config.domain.clusters == 2
    assert abs(detector.config.domain.limit) < 1e6
    assert 0 < detector.config.calibration.threshold < 1
    assert detector.domain.centres.abs().sum() > 0
    again = load_detector(export(tmp_path / "whole", tmp_path / "again"))
    assert again.config == detector.config


def test_both_sides_are_degraded_in_the_same_way() -> None:
    config = DegradeConfig(gain_db=18.0, noise=0.5, lowpass=0.5, tilt=0.5)
    wav = 0.2 * torch.randn(1, 4800)
    seen = set()
    for seed in range(12):
        one, two = degrade([wav, wav], 24000, config, np.random.default_rng(seed))
        assert torch.equal(one, two)
        assert torch.equal(one * 32768, (one * 32768).round())
        seen.add(round(float(one.std()), 4))
    assert len(seen) == 12


def test_nothing_is_degraded_unless_asked() -> None:
    wav = (0.2 * torch.randn(1, 4800) * 32768).round() / 32768
    (same,) = degrade([wav], 24000, DegradeConfig(), np.random.default_rng(0))
    assert torch.allclose(same, wav, atol=1e-6)


def test_pairs_are_made_once_and_alike(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose([*overrides, f"fakes.cache={tmp_path}"])
    assert isinstance(config, AnalysisSolverConfig)
    codec = load_codec(config.compression_model_checkpoint, "cpu")
    (made,) = load_pairs(config, codec, "train")
    assert made.name == DECODED and made.audio.shape == (4, 2, 7200) and made.audio.dtype == np.int16
    assert all((made.audio[index, 0] != made.audio[index, 1]).any() for index in range(4))
    monkeypatch.setattr(codec, "encode", None)  # what is on disk is read
    (read,) = load_pairs(config, codec, "train")
    assert np.array_equal(made.audio, read.audio)
    windows = PairWindows(config, [read])
    assert torch.equal(windows.batch(3, 2), windows.batch(3, 2))
    assert torch.equal(windows.batch(3, 4)[:, 2:], windows.batch(3, 2, rank=1))
    assert not torch.equal(windows.batch(3, 2), windows.batch(4, 2))


def test_a_model_on_top_of_the_codec_makes_fakes_too(
    overrides: list[str], corpus: Path, tmp_path: Path
) -> None:
    model = "{model: musicgen-nano, train: egs/music/train, valid: egs/music/valid, clips: 3, valid_clips: 1}"
    config = compose([*overrides, f"fakes.cache={tmp_path}", f"fakes.generators=[{model}]"])
    assert isinstance(config, AnalysisSolverConfig)
    codec = load_codec(config.compression_model_checkpoint, "cpu")
    decoded, made = load_pairs(config, codec, "train")
    (_, other) = load_pairs(config, codec, "valid")
    assert (len(decoded), len(made), len(other)) == (4, 3, 1)
    assert np.abs(made.audio[:, 1].astype(int)).max(axis=1).min() > 0
    assert PairWindows(config, [decoded, made]).cumulative.tolist() == pytest.approx([0.7, 1.0])


@pytest.mark.parametrize(("format", "kbps"), [("mp3", 64.0), ("opus", 6.0)])
def test_a_lossy_copy_keeps_length_and_level(format: str, kbps: float) -> None:
    time = torch.arange(24000) / 24000
    wav = 0.3 * torch.sin(2 * torch.pi * 440 * time)
    copy = lossy_copy(wav, 24000, format, kbps)
    assert copy.shape == wav.shape and not torch.equal(copy, wav)
    assert 0.5 < float(copy.std() / wav.std()) < 1.5
