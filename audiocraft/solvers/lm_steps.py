"""What every language-model solver does with a batch: conditions, their dropout, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.config.conditioning import AttributeDropoutConfig, GuidanceConfig
from audiocraft.config.training import FrameDropoutConfig
from audiocraft.modules.conditioners.base import nullify_joint_embed, nullify_wav
from audiocraft.types import ConditioningAttributes, SymbolicCondition
from audiocraft.utils import distrib

KINDS = ("text", "symbolic", "wav", "joint_embed")


_NULLS: Mapping[str, Callable[[Any], Any]] = {
    "text": lambda _: None,
    "symbolic": lambda _: SymbolicCondition(),
    "wav": nullify_wav,
    "joint_embed": nullify_joint_embed,
}


@dataclass(frozen=True)
class TokenBatch:
    """This record holds codes [B, K, T] with what each row is conditioned on; frames from `lengths` [B] on are padding.
    `inputs` [B, K, T] is what the model reads where that is not all of the codes."""

    codes: Tensor
    attributes: tuple[ConditioningAttributes, ...]
    lengths: Tensor
    inputs: Tensor | None = None

    @property
    def valid(self) -> Tensor:
        """Return [B, 1, T]: which frames are real."""
        frames = torch.arange(self.codes.shape[-1], device=self.codes.device)
        return (frames < self.lengths.to(self.codes.device)[:, None])[:, None]


def hide_frames(
    codes: Tensor, special: int, dropout: FrameDropoutConfig, random: np.random.Generator
) -> Tensor:
    """Return one row of codes [K, T] with some frames, or all of them, replaced by the special token.

    The past of a clip tells which instruments play, so a model that always reads it has to look at the words in the
    first frames only, and learns them late. Rows without a past make it listen everywhere; holes in the past get it
    used to one that is not perfect, as its own will not be.
    """
    blind = random.random() < dropout.blind_rows
    hidden = torch.from_numpy(random.random(codes.shape[-1]) < (1.0 if blind else dropout.share))
    return codes.masked_fill(hidden, special)


def without(attributes: ConditioningAttributes, dropped: Sequence[tuple[str, str]]) -> ConditioningAttributes:
    """Return these conditions without the `dropped` (kind, name), about which the model is told nothing."""
    told: dict[str, dict[str, Any]] = {kind: dict(attributes[kind]) for kind in KINDS}
    for kind, name in dropped:
        if name in told[kind]:
            told[kind][name] = _NULLS[kind](told[kind][name])
    return ConditioningAttributes(**told)


def drop_conditions(
    attributes: ConditioningAttributes,
    dropout: AttributeDropoutConfig,
    guidance: GuidanceConfig,
    random: np.random.Generator,
) -> ConditioningAttributes:
    """Forget single attributes, or everything, as often as the configuration says."""
    everything = [(kind, name) for kind in KINDS for name in attributes[kind]]
    if random.random() < guidance.training_dropout:
        return without(attributes, everything)
    chances: Mapping[str, Mapping[str, float]] = {
        "text": dropout.text,
        "symbolic": dropout.symbolic,
        "wav": dropout.wav,
        "joint_embed": dropout.joint_embed,
    }
    return without(attributes, [(k, n) for k, n in everything if random.random() < chances[k].get(n, 0.0)])


def shuffled(attributes: Sequence[ConditioningAttributes], kind: str) -> list[ConditioningAttributes]:
    """Return each row with another row's conditions of one kind."""
    others = [*attributes[1:], attributes[0]]
    return [replace(row, **{kind: other[kind]}) for row, other in zip(attributes, others, strict=True)]


def cross_entropy(logits: Tensor, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over the codebooks, and each codebook's own [K], of the loss at the places of `mask`.

    With several processes the gradients' mean over them is that of one process with all rows: a rank with fewer places
    counts for less.

    Args:
        logits: [B, K, T, V], codes and mask: [B, K, T].
    """
    # Undefined logits outside the mask must not reach the sum, not even times zero.
    targets = codes.masked_fill(~mask, -100)
    losses = [
        F.cross_entropy(logits[:, k].flatten(0, 1).float(), targets[:, k].flatten(), ignore_index=-100)
        for k in range(codes.shape[1])
    ]
    per_codebook = torch.stack(losses)
    if distrib.is_distributed() and torch.is_grad_enabled():
        places = mask.sum(dim=(0, 2)).float()
        per_codebook = per_codebook.nan_to_num() * (places / distrib.all_reduce(places.clone(), "mean"))
    return per_codebook.mean(), per_codebook
