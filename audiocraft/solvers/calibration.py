"""After a detector is trained: what its scores mean, and which sounds it may judge. Fitted on clips it never saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from audiocraft.config.analysis import DISCRIMINATORS, CalibrationConfig, DomainConfig, PlattConfig
from audiocraft.config.training import AnalysisSolverConfig
from audiocraft.models.detectors.calibration import best_threshold, fit_logistic
from audiocraft.models.detectors.detector import Detector
from audiocraft.solvers.pairs import PairWindows

# This share of the corpus's own clips, real and fake, may lie beyond; a clip of another kind lies farther than this.
_FOREIGN, _MARGIN = 0.01, 0.4
_BATCH = 16


@torch.inference_mode()
def calibrate(config: AnalysisSolverConfig, detector: Detector, valid: PairWindows) -> CalibrationConfig:
    """Fit probabilities per discriminator and of all together on validation windows, the threshold on clips."""
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for pair in _batches(config, valid, config.calibration_windows):
        for found, wav in zip(sides, pair, strict=True):
            found.append(_raw(detector, wav[:, 0]))
    real, fake = (torch.cat(side) for side in sides)  # [M, 3]
    single = [fit_logistic(real[:, [i]], fake[:, [i]]) for i in range(len(DISCRIMINATORS))]
    platt = {
        name: PlattConfig(scale=float(scale[0]), shift=shift)
        for name, (scale, shift) in zip(DISCRIMINATORS, single, strict=True)
    }
    weights, bias = fit_logistic(real, fake)
    clips: tuple[list[float], list[float]] = ([], [])
    for clip_pair in valid.all_clips(config.calibration_clips):
        for logits, wav in zip(clips, clip_pair, strict=True):
            windows = _windows(detector, wav)
            if len(windows):
                logits.append(float((_raw(detector, windows) @ weights).mean() + bias))
    logit = best_threshold(torch.tensor(clips[0]), torch.tensor(clips[1]))
    return CalibrationConfig(
        **platt,
        combined=dict(zip(DISCRIMINATORS, weights.tolist(), strict=True)),
        bias=bias,
        # As a probability it must stay distinguishable from 0 and 1.
        threshold=float(torch.sigmoid(torch.tensor(max(-4.0, min(4.0, logit))))),
    )


@torch.inference_mode()
def fit_domain(
    config: AnalysisSolverConfig, detector: Detector, train: PairWindows, valid: PairWindows
) -> DomainConfig:
    """Show the detector's domain training windows, real and fake; the limit comes from validation clips.

    Windows without added noise: behind it, quiet ones are noise, which then would belong to the corpus.
    """
    train = PairWindows(replace(config, degrade=replace(config.degrade, noise=0.0, gain_db=0.0)), train.parts)
    rows = [wav for pair in _batches(config, train, config.domain_windows // 2) for wav in pair[:, :, 0]]
    windows = torch.cat(rows)
    detector.domain.fit(windows[detector.audible(windows)])
    distances = []
    for pair in valid.all_clips(config.calibration_clips):
        for wav in pair:
            heard = _windows(detector, wav)
            if len(heard):
                distances.append(float(detector.domain(heard).mean()))
    limit = float(torch.tensor(distances).quantile(1 - _FOREIGN))
    return DomainConfig(clusters=config.clusters, limit=limit + _MARGIN)


def _batches(config: AnalysisSolverConfig, windows: PairWindows, count: int) -> Iterator[Tensor]:
    """Yield pairs [2, B, 1, n] that no step of the training draws."""
    return (windows.batch(config.total_steps + number, _BATCH) for number in range(-(-count // _BATCH)))


def _raw(detector: Detector, windows: Tensor) -> Tensor:
    """Map windows [W, n] to raw scores [W, 3]."""
    parts = [detector.raw_scores(rows[:, None]) for rows in windows.split(_BATCH)]
    return torch.cat([torch.stack([part[name] for name in DISCRIMINATORS], dim=1) for part in parts]).cpu()


def _windows(detector: Detector, wav: Tensor) -> Tensor:
    """Return those windows of wav [N] that are not silent: [W, n]."""
    windows, _ = detector.cut(wav)
    return windows[detector.audible(windows)]
