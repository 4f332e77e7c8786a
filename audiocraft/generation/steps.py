"""A generation is a coroutine: it yields what it needs, is sent the answer, and yields its frames as they are ready.
So the same code runs alone, where `drive` answers, and in an engine that answers many requests with one pass.

    Embed(conditions)    -> Guided, the conditions ready for the network
    Predict(codes so far) -> the codes that follow
    Tensor [B, K, n]     -> None: these frames are finished
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audiocraft.generation.guidance import Guided, prepare
from audiocraft.generation.protocols import Attributes, TokenLM
from audiocraft.generation.request import Guidance, Sampling
from audiocraft.generation.sampling import choose

PREFILL_STEPS = 32
"""More steps than this are read in parts: a bound on memory, and on how long others wait in an engine. The parts
are the same alone and in company, so the codes are too."""


@dataclass(frozen=True, slots=True)
class Embed:
    """The conditions of every row, to be embedded."""

    attributes: Attributes
    guidance: Guidance


@dataclass(frozen=True, slots=True)
class Predict:
    """The codes [B, K] that follow `codes` [B, K, S], which follow what the states have seen.

    Args:
        states: of this window, one for each pass of guidance; empty before its first step. Who answers keeps them here.
        capacity: steps that this window will have.
    """

    guided: Guided
    codes: Tensor
    states: list[Any]
    capacity: int
    sampling: Sampling
    generators: Sequence[torch.Generator]


Ask = Embed | Predict | Tensor
Generation = Generator[Ask, Any, Any]


def drive(lm: TokenLM, generation: Generation, device: torch.device) -> Iterator[Tensor]:
    """Answer one generation until it ends; yields its frames."""
    answer: Any = None
    while True:
        try:
            ask = generation.send(answer)
        except StopIteration:
            return
        answer = None
        if isinstance(ask, Tensor):
            yield ask
        elif isinstance(ask, Embed):
            answer = prepare(lm, ask.attributes, ask.guidance, device=device)
        else:
            answer = predict(ask)


def predict(ask: Predict) -> Tensor:
    """The codes [B, K] that one generation asks for, by itself."""
    if not ask.states:
        ask.states.extend(ask.guided.open(ask.capacity))
    for codes in ask.codes.split(PREFILL_STEPS, dim=-1):
        logits = ask.guided.logits(codes, ask.states)
    return choose(logits, ask.sampling, ask.generators)
