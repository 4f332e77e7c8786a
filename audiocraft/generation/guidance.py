"""Classifier-free guidance: which copies of a batch the network sees and how their answers combine.
The network itself knows nothing of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation.protocols import Attributes, TokenLM
from audiocraft.generation.request import Guidance
from audiocraft.modules.conditioners import Fused, unconditional
from audiocraft.types import ConditioningAttributes

# On a CPU, matrix products with one to three rows run other kernels than larger ones and differ in the last bits.
# With never fewer than four rows, a row's result does not depend on how many others there are (measured for
# float32 on x86 with MKL, 1 to 32 rows, several widths, one and two threads).
MIN_ROWS = 4


@dataclass(frozen=True, slots=True)
class Guided:
    """A batch of `rows` requests prepared for the network: each branch is one forward pass per step.

    Args:
        branches: fused conditions; either one of [conditional | null | padding] rows, or two passes of one kind.
        copies: how many times each branch repeats the batch (2 where both kinds share a pass).
        coef: None where there is nothing to guide and the conditional answer is final.
    """

    lm: TokenLM
    rows: int
    branches: tuple[Fused, ...]
    copies: int
    padded_rows: int
    coef: float | None
    device: torch.device

    def open(self, capacity: int) -> list[Any]:
        """One state per branch, for at most `capacity` steps."""
        return [self.lm.init_state(self.padded_rows, capacity, fused) for fused in self.branches]

    def logits(self, codes: Tensor, states: Sequence[Any]) -> Tensor:
        """The guided logits [B, K, V] of the code that follows the steps codes [B, K, S]."""
        repeated = codes.repeat(self.copies, 1, 1)
        padding = self.padded_rows - repeated.shape[0]
        if padding:
            repeated = torch.cat([repeated, repeated[:1].expand(padding, -1, -1)])
        with half_on_gpu(self.device):
            answers = [
                self.lm.logits(repeated, fused, state)[: self.rows * self.copies, :, -1].float()
                for fused, state in zip(self.branches, states, strict=True)
            ]
        if self.coef is None:
            return answers[0]
        conditional, null = torch.cat(answers).chunk(2)
        return null + (conditional - null) * self.coef


def prepare(lm: TokenLM, attributes: Attributes, guidance: Guidance, *, device: torch.device) -> Guided:
    """Embed the conditions of every row, with their null versions where guidance needs them."""
    if guidance.coef_beta is not None:
        raise InvalidInput(
            "guidance beta weighs text against style, and this model takes no style",
            field="guidance.coef_beta",
        )
    conditional = list(attributes)
    nulls = unconditional(conditional)
    guided = guidance.coef != 1.0 and not all(is_null(entry) for entry in conditional)
    if guided and guidance.two_step:
        batches = [conditional, nulls]
    else:
        batches = [conditional + nulls if guided else conditional]
    missing = max(0, MIN_ROWS - len(batches[0])) if device.type == "cpu" else 0
    padding = [nulls[0]] * missing
    with half_on_gpu(device):
        branches = tuple(fuse(lm, [*batch, *padding]) for batch in batches)
    return Guided(
        lm=lm,
        rows=len(conditional),
        branches=branches,
        copies=len(batches[0]) // len(conditional),
        padded_rows=len(batches[0]) + missing,
        coef=guidance.coef if guided else None,
        device=device,
    )


def fuse(lm: TokenLM, attributes: Attributes) -> Fused:
    """Conditions of each row, embedded and sorted by where they enter the network."""
    return lm.fuser.fuse(lm.condition_provider(lm.condition_provider.tokenize(list(attributes))))


def is_null(attributes: ConditioningAttributes) -> bool:
    """Whether a row asks for nothing, so that guidance could not change it."""
    plans = (condition.plan for condition in attributes.symbolic.values())
    return (
        not any(attributes.text.values())
        and not attributes.wav
        and not attributes.joint_embed
        and all(plan is None for plan in plans)
        and all(c.frame_chords is None and c.melody is None for c in attributes.symbolic.values())
    )


@contextmanager
def half_on_gpu(device: torch.device) -> Iterator[None]:
    """float16 autocast on a GPU, nothing on a CPU."""
    with torch.autocast(device.type, dtype=torch.float16, enabled=device.type == "cuda"):
        yield
