"""From raw scores to probabilities, and how good they are: Platt scaling, thresholds, AUC, calibration error."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS, _RIDGE = 100, 1e-4


def auc(real: Tensor, fake: Tensor) -> float:
    """Return the chance that a random real score [M] lies above a random fake one [M']; ties count half."""
    above = torch.searchsorted(fake.double().sort().values, real.double(), side="left").double()
    equal = torch.searchsorted(fake.double().sort().values, real.double(), side="right").double() - above
    return float((above + equal / 2).mean() / len(fake))


def fit_logistic(real: Tensor, fake: Tensor) -> tuple[Tensor, float]:
    """Fit a logistic regression that tells features [M, F] from features [M', F] by Newton's method, and return its
    weights [F] and its bias.

    Targets are Platt's (1999): a little inside 0 and 1, so that classes without overlap have a finite answer. Both
    classes weigh the same, whatever their sizes.
    """
    features = torch.cat([real, fake]).double()
    mean, std = features.mean(0), features.std(0).clamp_min(1e-9)
    points = torch.cat([(features - mean) / std, features.new_ones(len(features), 1)], dim=1)
    targets = torch.cat(
        [
            torch.full((len(real),), (len(real) + 1) / (len(real) + 2), device=real.device),
            torch.full((len(fake),), 1 / (len(fake) + 2), device=fake.device),
        ]
    ).double()
    weights = torch.cat(
        [
            torch.full((len(real),), 0.5 / len(real), device=real.device),
            torch.full((len(fake),), 0.5 / len(fake), device=fake.device),
        ]
    )
    weights = weights.double()
    ridge = _RIDGE * torch.eye(points.shape[1], dtype=torch.float64, device=points.device)
    ridge[-1, -1] = 0.0
    solution = points.new_zeros(points.shape[1])
    for _ in range(_ROUNDS):
        found = torch.sigmoid(points @ solution)
        slope = points.T @ (weights * (found - targets)) + ridge @ solution
        curve = (points * (weights * found * (1 - found))[:, None]).T @ points + ridge
        step = torch.linalg.solve(
            curve + 1e-9 * torch.eye(len(slope), dtype=torch.float64, device=points.device), slope
        )
        # A full Newton step may overshoot where the curve is flat.
        solution = solution - step * min(1.0, 2.0 / float(step.norm().clamp_min(1e-12)))
        if step.norm() < 1e-8:
            break
    scaled = solution[:-1] / std
    return scaled.float(), float(solution[-1] - (scaled * mean).sum())


def best_threshold(real: Tensor, fake: Tensor) -> float:
    """Return the value that tells real [M] from fake [M'] scores with the fewest errors in both classes, counted
    equally; in the middle, where many do."""
    values = torch.cat([real, fake]).unique()
    if len(values) == 1:
        return float(values[0])
    between = (values[1:] + values[:-1]) / 2
    right = (real[None] >= between[:, None]).double().mean(1) + (fake[None] < between[:, None]).double().mean(
        1
    )
    best = (right >= right.max() - 1e-12).nonzero().flatten()
    low, high = int(best[0]), int(best[-1])
    return float((values[low] + values[high + 1]) / 2)


def calibration_error(probabilities: Tensor, real: Tensor, bins: int = 10) -> float:
    """Return the expected calibration error: how far stated probabilities [M] lie from the share that is real [M], on
    average over equally wide bins weighed by how many fall into them."""
    place = (probabilities * bins).long().clamp(0, bins - 1)
    total = 0.0
    for index in range(bins):
        inside = place == index
        if inside.any():
            gap = probabilities[inside].mean() - real[inside].float().mean()
            total += float(gap.abs()) * float(inside.float().mean())
    return total
