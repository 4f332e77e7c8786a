"""What every conditioner is: `tokenize` prepares inputs without weights, `forward` embeds them.
Also what "not conditioned" looks like, for each kind of condition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audiocraft.types import ConditionType, JointEmbedCondition, SymbolicCondition, WavCondition


class JascoCondConst(Enum):
    """These are the names of the conditions of a flow, one by one and in groups."""

    DRM = "self_wav"
    CRD = "chords"
    MLD = "melody"
    SYM = frozenset({"chords", "melody"})
    LAT = frozenset({"self_wav"})
    ALL = ("chords", "self_wav", "melody")


class BaseConditioner(nn.Module, ABC):
    """A conditioner maps what a row is conditioned on to an embedding [B, L, output_dim] and its mask [B, L].

    Args:
        dim: width of the conditioner's own representation.
        output_dim: width that the language model wants; -1 for no projection.
    """

    kind: ClassVar[str] = "symbolic"
    """Which part of `ConditioningAttributes` this conditioner reads: text, wav, joint_embed or symbolic."""

    def __init__(self, dim: int, output_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.output_dim = output_dim
        if output_dim > -1:
            self.output_proj = nn.Linear(dim, output_dim)

    @abstractmethod
    def tokenize(self, *args: Any, **kwargs: Any) -> Any:
        """Return everything that can be done without the model's weights."""

    @abstractmethod
    def forward(self, inputs: Any) -> ConditionType:
        """Embed what `tokenize` returned: the result is (embedding [B, L, D], mask [B, L])."""


class TextConditioner(BaseConditioner):
    """This conditioner reads texts: `tokenize` takes one string or None per row."""

    kind = "text"


def nullify_condition(condition: ConditionType, dim: int = 1) -> ConditionType:
    """Replace (embedding, mask) by an embedding of length one along `dim`, which is zero, with mask 0."""
    embedding, _ = condition
    null = torch.zeros_like(embedding.narrow(dim, 0, 1))
    return null, torch.zeros((null.shape[0], 1), dtype=torch.int, device=embedding.device)


def nullify_wav(cond: WavCondition) -> WavCondition:
    """Replace the sound by none: one zero sample, of length 0, per row."""
    rows = cond.wav.shape[0]
    return WavCondition(
        wav=torch.zeros_like(cond.wav[..., :1]),
        length=torch.zeros_like(cond.length),
        sample_rate=cond.sample_rate,
        path=[None] * rows,
        seek_time=[None] * rows,
    )


def nullify_joint_embed(embed: JointEmbedCondition) -> JointEmbedCondition:
    """Replace sound and text by none."""
    rows = embed.wav.shape[0]
    return JointEmbedCondition(
        wav=torch.zeros_like(embed.wav[..., :1]),
        text=[None] * rows,
        length=torch.zeros_like(embed.length),
        sample_rate=embed.sample_rate,
        path=[None] * rows,
        seek_time=[0] * rows,
    )


def nullify_chords(sym_cond: SymbolicCondition, null_chord_idx: int = 194) -> SymbolicCondition:
    """Take the chords out of all frames; the rest stays."""
    if sym_cond.frame_chords is None:
        return sym_cond
    return sym_cond._replace(frame_chords=torch.full_like(sym_cond.frame_chords, null_chord_idx))


def nullify_melody(sym_cond: SymbolicCondition) -> SymbolicCondition:
    """Take the pitch out of all frames; the rest stays."""
    if sym_cond.melody is None:
        return sym_cond
    return sym_cond._replace(melody=torch.zeros_like(sym_cond.melody))


def nullify_symbolic(sym_cond: SymbolicCondition, null_chord_idx: int = 194) -> SymbolicCondition:
    """Take away chords, melody and plans."""
    return nullify_melody(nullify_chords(sym_cond, null_chord_idx))._replace(plan=None, scene=None)


def pad_tokens(rows: Sequence[Sequence[int]], pad_idx: int) -> tuple[Tensor, Tensor]:
    """Pad lists of tokens to (tokens [B, L], lengths [B]), with at least one column."""
    longest = max((len(row) for row in rows), default=0) or 1
    tokens = torch.full((len(rows), longest), pad_idx, dtype=torch.long, device="cpu")
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row, dtype=torch.long, device="cpu")
    return tokens, torch.tensor([len(row) for row in rows], dtype=torch.long, device="cpu")
