"""How far the labels of generated sounds are those of their references: the Kullback-Leibler divergence of what a
classifier hears in both (Kreuk et al., "AudioGen", arXiv 2209.15352)."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput, MissingDependency
from audiocraft.metrics.embedder import BUNDLED, load_embedder
from audiocraft.metrics.metric import Metric, rows_of
from audiocraft.utils import distrib

_PASST_RATE = 32000
_PASST_SECONDS = (10, 20, 30)


def kl_divergence(pred_probs: Tensor, target_probs: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Return the divergence [...] of the distributions target_probs from pred_probs, both [..., classes], in nats.

    Args:
        epsilon: added to both, so that a class that one of them rules out does not count without end.
    """
    wanted = target_probs + epsilon
    return (target_probs * (wanted.log() - (pred_probs + epsilon).log())).sum(-1)


class KLDivergenceMetric(Metric):
    """This metric is the mean divergence over pairs; a class says which classifier listens (`label_distribution`)."""

    backwards: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("backwards", torch.zeros((), dtype=torch.float64), persistent=False)

    @abstractmethod
    def label_distribution(self, x: Tensor, sizes: Tensor, sample_rates: Tensor) -> Tensor:
        """Return what is heard [B, classes] in x [B, C, N]; each row adds up to 1."""

    @torch.no_grad()
    def update(self, preds: Tensor, targets: Tensor, sizes: Tensor, sample_rates: Tensor) -> None:
        """Take a batch of generated sounds and their references.

        Args:
            preds, targets: [B, C, N].
            sizes: [B], samples of each row that count.
            sample_rates: [B].
        """
        found = self.label_distribution(preds, sizes, sample_rates).double()
        wanted = self.label_distribution(targets, sizes, sample_rates).double()
        self.add(kl_divergence(found, wanted))
        self.backwards += kl_divergence(wanted, found).sum().to(self.backwards.device)

    def compute(self) -> dict[str, float]:
        """Return means over all pairs: `kld` and `kld_pq` of the references from what was generated, `kld_qp` the other
        way round, `kld_both` the mean of both."""
        forwards = float(self.mean())
        backwards = float(_mean_of(self.backwards, self.count))
        both = (forwards + backwards) / 2
        return {"kld": forwards, "kld_pq": forwards, "kld_qp": backwards, "kld_both": both}

    def reset(self) -> None:
        super().reset()
        self.backwards.zero_()


class EmbedderKLDivergenceMetric(KLDivergenceMetric):
    """This metric is the divergence of the instruments and sounds that an embedder of ours hears.

    Args:
        model: its name or folder.
    """

    def __init__(self, model: str | Path = BUNDLED) -> None:
        super().__init__()
        self.embedder = load_embedder(model)

    def label_distribution(self, x: Tensor, sizes: Tensor, sample_rates: Tensor) -> Tensor:
        rows = []
        for row in rows_of(x, sizes, sample_rates, self.embedder.sample_rate):
            rows.append(label_distribution(self.embedder.probabilities(self.embedder.embed(row))))
        return torch.stack(rows)


class PasstKLDivergenceMetric(KLDivergenceMetric):
    """This metric is the divergence of the AudioSet classes that PaSST hears (Koutini et al., arXiv 2110.05069), by the
    package `hear21passt`, which fetches its weights itself.

    Args:
        pretrained_length: seconds that the model was trained to hear, 10, 20 or 30; None is 10.
    """

    def __init__(self, pretrained_length: float | None = None) -> None:
        super().__init__()
        seconds = int(pretrained_length or _PASST_SECONDS[0])
        if seconds not in _PASST_SECONDS:
            raise InvalidInput(
                f"PaSST was trained on 10, 20 or 30 s, not on {pretrained_length:g}",
                field="pretrained_length",
            )
        self.seconds = seconds
        self.classifier = _passt(seconds).eval()

    def label_distribution(self, x: Tensor, sizes: Tensor, sample_rates: Tensor) -> Tensor:
        rows = []
        for row in rows_of(x, sizes, sample_rates, _PASST_RATE):
            parts = row.split(self.seconds * _PASST_RATE)
            logits = torch.cat([self.classifier(part[None]) for part in parts])
            rows.append(logits.softmax(-1).mean(0))
        return torch.stack(rows)


def label_distribution(heard: dict[str, Tensor]) -> Tensor:
    """Return what `Embedder.probabilities` found of instruments and sounds, as one distribution [words]."""
    words = torch.cat([heard[name] for name in ("instruments", "sounds") if name in heard])
    return words / words.sum().clamp_min(1e-9)


def _passt(seconds: int) -> Any:
    name = "hear21passt.base" if seconds == _PASST_SECONDS[0] else f"hear21passt.base{seconds}sec"
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(
            "the divergence by PaSST needs the package hear21passt: pip install hear21passt; without it, set "
            "metrics.kld.model=embedder (EmbedderKLDivergenceMetric), which needs nothing",
            name=error.name,
        ) from error
    return module.get_basic_model(mode="logits")


def _mean_of(total: Tensor, count: Tensor) -> Tensor:
    return distrib.all_reduce(total.clone()) / distrib.all_reduce(count.clone())
