"""How well a watermark is found: shares of rows, of samples and of bits, from 0 to 1 (AudioSeal, arXiv 2401.17264)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from audiocraft.errors import require


def random_message(nbits: int, batch_size: int) -> Tensor | None:
    """Draw messages [batch_size, nbits] of 0 and 1 at random; None where there are no bits."""
    return torch.randint(0, 2, (batch_size, nbits)) if nbits else None


def marked_share(decisions: Tensor) -> Tensor:
    """Map decisions [B, 2 + nbits, N] to the mean probability of the mark in each row [B]."""
    return decisions[:, 1].mean(-1)


def compute_FNR(positive: Tensor) -> Tensor:
    """Return the share of marked rows that are not found: decisions [B, 2 + nbits, N] -> []."""
    return (marked_share(positive) <= 0.5).float().mean()


def compute_FPR(negative: Tensor) -> Tensor:
    """Return the share of clean rows that are taken for marked: decisions [B, 2 + nbits, N] -> []."""
    return (marked_share(negative) > 0.5).float().mean()


def compute_accuracy(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the share of rows that are taken for what they are: decisions [B, 2 + nbits, N] of both -> []."""
    rows = len(positive) + len(negative)
    wrong = compute_FNR(positive) * len(positive) + compute_FPR(negative) * len(negative)
    return 1 - wrong / max(1, rows)


def compute_bit_acc(positive: Tensor, original: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the share of bits that are read right, each over the whole row.

    Args:
        positive: decisions [B, 2 + nbits, N] on marked audio.
        original: the messages [B, nbits].
        mask: [B, 1, N], 1 where the mark is; only there the bits are read.
    """
    logits = positive[:, 2:]
    if mask is not None:
        weights = mask.to(logits)
        read = (logits * weights).sum(-1) / weights.sum(-1).clamp_min(1)
    else:
        read = logits.mean(-1)
    return ((read > 0) == (original > 0.5).to(read.device)).float().mean()


def evaluate_localizations(predictions: Tensor, true_predictions: Tensor, name: str) -> dict[str, Tensor]:
    """Return how well single samples are told apart.

    Args:
        predictions: decisions [B, 2 + nbits, N].
        true_predictions: [B, 1, N], 1 where the mark is.
        name: what the measures are about; it ends their names.

    Returns:
        `acc_NAME`, the share of samples that are taken for what they are, and `miou_NAME`, the intersection over the
        union of what is found and what is there, the mean of marked and clean.
    """
    found, there = predictions[:, 1] > 0.5, true_predictions[:, 0] > 0.5
    overlaps = []
    for guess, truth in ((found, there), (~found, ~there)):
        union = (guess | truth).float().sum()
        overlaps.append(((guess & truth).float().sum() / union) if union else torch.ones(()))
    return {f"acc_{name}": (found == there).float().mean(), f"miou_{name}": torch.stack(overlaps).mean()}


def evaluate_augmentations(
    positive: Tensor, negative: Tensor, augmentation_name: str, message: Tensor | None
) -> dict[str, Tensor]:
    """Return the measures of rows behind one effect, by names that begin with the effect's.

    Args:
        positive: decisions [B, 2 + nbits, N] on marked audio behind it.
        negative: decisions on clean audio behind it.
        message: [B, nbits] that was hidden; None for none.
    """
    measured = {
        "acc": compute_accuracy(positive, negative),
        "fpr": compute_FPR(negative),
        "fnr": compute_FNR(positive),
    }
    if message is not None:
        measured["bit_acc"] = compute_bit_acc(positive, message)
    return {f"aug_{augmentation_name}_{name}": value for name, value in measured.items()}


def tensor_pesq(y_pred: Tensor, y: Tensor, sr: int) -> float:
    """Return the mean PESQ (ITU-T P.862.2, 1 to 4.64) of audio [B, C, N] at 16 kHz. Needs the package `pesq`."""
    measure = require("pesq", extra="pesq").pesq
    values = []
    for made, given in zip(y_pred.mean(1).cpu().numpy(), y.mean(1).cpu().numpy(), strict=True):
        try:
            values.append(float(measure(sr, given, made, "wb" if sr == 16000 else "nb")))
        except Exception:  # noqa: BLE001 - a piece without speech in it has no value
            continue
    return sum(values) / len(values) if values else float("nan")


def named(measures: Mapping[str, Tensor]) -> dict[str, float]:
    """Return plain numbers."""
    return {name: float(value) for name, value in measures.items()}
