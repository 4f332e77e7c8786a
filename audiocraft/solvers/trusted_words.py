"""After an embedder is trained: which instruments and sounds it tells well enough to be asked about, and from which
probability one counts as heard. Found on validation recordings."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from audiocraft.config.training import EmbedderSolverConfig
from audiocraft.metrics.embedder import Embedder
from audiocraft.solvers.labelled_crops import LabelledCrops

logger = logging.getLogger(__name__)

# Of fewer recordings with a word nobody knows how well it is told.
_LEAST = 4
_CANDIDATES = torch.arange(0.05, 0.96, 0.025)


def trusted_words(config: EmbedderSolverConfig, state: Mapping[str, Tensor]) -> dict[str, float]:
    """Return {word: threshold} of the words whose F1 on whole validation recordings is `config.trusted` or more."""
    embedder = Embedder(config.network).eval()
    embedder.load_state_dict(dict(state))
    found: dict[str, list[Tensor]] = {"instruments": [], "sounds": []}
    truth: dict[str, list[Tensor]] = {"instruments": [], "sounds": []}
    for wav, known in LabelledCrops(config, "valid", None).recordings():
        if not known.told:
            continue
        heard = embedder.probabilities(embedder.embed(wav))
        events = torch.zeros(len(config.sounds))
        events[[word for word, _, _ in known.events]] = 1
        for head, wanted in (("instruments", known.instruments), ("sounds", events)):
            if head not in heard:
                continue
            found[head].append(heard[head])
            truth[head].append(wanted)
    chosen: dict[str, float] = {}
    for head, words in (("instruments", config.instruments), ("sounds", config.sounds)):
        if not words or not found[head]:
            continue
        probabilities, wanted = torch.stack(found[head]), torch.stack(truth[head]).bool()
        for place, word in enumerate(words):
            threshold, f1 = best_threshold(probabilities[:, place], wanted[:, place])
            count = int(wanted[:, place].sum())
            kept = count >= _LEAST and f1 >= config.trusted
            logger.info(
                "%s: F1 %.2f of %d recordings%s", word, f1, count, "" if kept else ", not to be asked about"
            )
            if kept:
                chosen[word] = round(threshold, 3)
    return chosen


def best_threshold(probabilities: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Return the threshold with the best F1 for probabilities [B] and truth [B], and that F1; among equals the
    middle one."""
    answers = probabilities[None] >= _CANDIDATES[:, None]
    hits = (answers & wanted).sum(1)
    scores = 2 * hits / (answers.sum(1) + wanted.sum()).clamp_min(1)
    best = (scores >= scores.max() - 1e-6).nonzero()[:, 0]
    return float(_CANDIDATES[best[len(best) // 2]]), float(scores.max())
