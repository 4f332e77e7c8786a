"""Classifier-free guidance: which copies of a batch the network sees and how their answers combine.
The network itself knows nothing of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation.protocols import RowAttributes, TokenLM
from audiocraft.generation.request import Guidance
from audiocraft.modules.conditioners import Fused, unconditional
from audiocraft.modules.conditioners.score import PLAN
from audiocraft.types import ConditioningAttributes

# On a CPU, torch's matrix products with one to three rows run other kernels than larger ones and differ in the last
# bits. With never fewer than four rows, a row's result does not depend on how many others there are (measured for
# float32 on x86 with MKL, 1 to 32 rows, several widths, one and two threads). Models that run in our own kernels
# need no such rows: see `fewest_rows`.
MIN_ROWS = 4


@dataclass(frozen=True, slots=True)
class GuidedBatch:
    """A guided batch holds `rows` requests prepared for the network. It is seen in one to four branches: as asked, with
    its sound conditions alone, with its plan alone, without any condition.

    Args:
        passes: fused conditions of each forward pass per step: all branches in one, or each in its own.
        branches: in one pass.
        coef: how far to go from the branch without conditions, for all rows or for each, [B, 1, 1]; None where the
            branch as asked is final.
        beta: how far to go from the branch with sound alone, where there is one.
        coef_plan: how far to go from the branch without conditions to the one with the plan alone, from where `coef`
            leads on; None where there is no such branch.
    """

    lm: TokenLM
    rows: int
    passes: tuple[Fused, ...]
    branches: int
    padded_rows: int
    coef: float | Tensor | None
    beta: float | None
    device: torch.device
    coef_plan: float | None = None

    def open(self, capacity: int) -> list[Any]:
        """Open one state for each pass, for at most `capacity` steps."""
        return [self.lm.init_state(self.padded_rows, capacity, fused) for fused in self.passes]

    def logits(self, codes: Tensor, states: Sequence[Any]) -> Tensor:
        """Return the guided logits [B, K, V] of the code that follows the steps codes [B, K, S]."""
        repeated = codes.repeat(self.branches, 1, 1)
        padding = self.padded_rows - repeated.shape[0]
        if padding:
            repeated = torch.cat([repeated, repeated[:1].expand(padding, -1, -1)])
        with half_on_gpu(self.device, self.lm.half_dtype):
            answers = [
                self.lm.logits(repeated, fused, state)[: self.rows * self.branches, :, -1].float()
                for fused, state in zip(self.passes, states, strict=True)
            ]
        return self.combine(answers[0] if len(answers) == 1 else torch.cat(answers))

    def combine(self, logits: Tensor) -> Tensor:
        """Return what the branches [branches x B, K, V] say together, [B, K, V]."""
        if self.coef is None:
            return logits
        branches: list[Tensor] = list(logits.split(self.rows))
        asked, *between, null = branches
        if self.beta is not None:
            asked = between[0] + (asked - between[0]) * self.beta
        if self.coef_plan is None:
            return null + (asked - null) * self.coef
        planned = between[-1]
        return null + (planned - null) * self.coef_plan + (asked - planned) * self.coef


def prepare(
    lm: TokenLM, attributes: RowAttributes, guidance: Guidance, *, device: torch.device
) -> GuidedBatch:
    """Embed the conditions of every row, in as many branches as guidance compares."""
    assert guidance.coef is not None, "the model says how strong guidance is where the request does not"
    branches = branches_of(attributes, guidance, hears=lm.condition_provider.has_wav_condition)
    rows, together = len(attributes), 1 if guidance.two_step else len(branches)
    missing = max(0, lm.fewest_rows - rows * together)
    # Conditions are embedded in torch, whatever the network runs in.
    padding = max(missing, MIN_ROWS - rows * len(branches)) if device.type == "cpu" else missing
    filler = unconditional(list(attributes)[:1]) * padding
    with half_on_gpu(device, lm.half_dtype):
        # Even separate passes are embedded as one batch: a condition's length must not depend on the branch.
        fused = fuse(lm, [*(row for branch in branches for row in branch), *filler])
    end = rows * len(branches)
    pads = list(range(end, end + missing))
    if together == len(branches):
        passes: tuple[Fused, ...] = (fused.rows(slice(0, end + missing)),)
    else:
        starts = range(0, end, rows)
        passes = tuple(fused.rows(torch.tensor([*range(i, i + rows), *pads], device=device)) for i in starts)
    return GuidedBatch(
        lm=lm,
        rows=rows,
        passes=passes,
        branches=together,
        padded_rows=rows * together + missing,
        coef=_strength(attributes, guidance, device) if len(branches) > 1 else None,
        beta=guidance.coef_beta,
        device=device,
        coef_plan=guidance.coef_plan if len(branches) > 1 and _have_plans(attributes) else None,
    )


def _strength(attributes: RowAttributes, guidance: Guidance, device: torch.device) -> float | Tensor | None:
    """Return how far each row goes from the branch without conditions: one number where all go as far."""
    away = guidance.coef if guidance.coef_negative is None else guidance.coef_negative
    each = [away if any(row.negative.values()) else guidance.coef for row in attributes]
    return each[0] if len(set(each)) == 1 else torch.tensor(each, device=device).view(-1, 1, 1)


def branches_of(attributes: RowAttributes, guidance: Guidance, *, hears: bool) -> list[RowAttributes]:
    """List the batches of guidance: as asked; for double guidance with its sound conditions alone; where plans have a
    strength of their own with these alone; without any condition.

    Args:
        hears: whether the model has sound conditions.
    """
    beta = guidance.coef_beta
    if beta is not None and not hears:
        raise InvalidInput(
            "guidance beta weighs text against a melody or style, and this model takes neither",
            field="guidance.coef_beta",
        )
    asked = list(attributes)
    denies = any(any(row.negative.values()) for row in asked)
    plain = guidance.coef == 1.0 and (not denies or guidance.coef_negative in (None, 1.0))
    plain = plain and guidance.coef_plan in (None, 1.0)
    if (plain and beta in (None, 1.0)) or all(
        is_null(entry) and not any(entry.negative.values()) for entry in asked
    ):
        return [asked]
    sound = [] if beta is None else [unconditional(asked, ("text",))]
    null = opposite(asked)
    planned = [_with_plans(null, asked)] if guidance.coef_plan is not None and _have_plans(asked) else []
    return [asked, *sound, *planned, null]


def _have_plans(attributes: RowAttributes) -> bool:
    return any(PLAN in row.symbolic and row.symbolic[PLAN].plan is not None for row in attributes)


def _with_plans(rows: RowAttributes, asked: RowAttributes) -> list[ConditioningAttributes]:
    """Return rows with the plans of others."""
    plans = [{PLAN: row.symbolic[PLAN]} if PLAN in row.symbolic else {} for row in asked]
    return [replace(row, symbolic=row.symbolic | plan) for row, plan in zip(rows, plans, strict=True)]


def opposite(attributes: RowAttributes) -> list[ConditioningAttributes]:
    """Say what guidance leads away from: no condition at all, or what a row has in `negative` and
    `negative_symbolic`."""
    rows = unconditional(list(attributes))
    for row in rows:
        row.text = {name: row.negative.get(name) for name in row.text}
        row.symbolic |= row.negative_symbolic
    return rows


def fuse(lm: TokenLM, attributes: RowAttributes) -> Fused:
    """Embed the conditions of each row and sort them by where they enter the network."""
    return lm.fuser.fuse(lm.condition_provider(lm.condition_provider.tokenize(list(attributes))))


def is_null(attributes: ConditioningAttributes) -> bool:
    """Return whether a row asks for nothing, so that guidance could not change it."""
    return (
        not any(attributes.text.values())
        and not any(bool(wav.length.any()) for wav in attributes.wav.values())
        and not attributes.joint_embed
        and all(part is None for condition in attributes.symbolic.values() for part in condition)
    )


@contextmanager
def half_on_gpu(device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """Autocast to `dtype` on a GPU, if it is one; do nothing on a CPU."""
    enabled = device.type == "cuda" and dtype is not None
    with torch.autocast(device.type, dtype=dtype if enabled else None, enabled=enabled):
        yield
