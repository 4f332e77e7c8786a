"""Requests that share the steps of one batch from the first to the last, without threads or clocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from audiocraft.generation.batching import ActiveGeneration, Batch
from audiocraft.generation.computations import run_alone
from audiocraft.generation.request import GenerationRequest
from audiocraft.generation.session import Session


def frames_alone(model: Any, request: GenerationRequest) -> Tensor:
    """The frames [B, ..., T] of a request by itself."""
    prepared = model.prepare(request)
    return torch.cat(list(run_alone(model.generation(prepared, Session.open(prepared.seeds)))), dim=-1)


def frames_together(model: Any, requests: Sequence[GenerationRequest]) -> list[Tensor]:
    """The frames [B, ..., T] of each request, in one batch."""
    batch = Batch()
    found: list[list[Tensor]] = [[] for _ in requests]
    errors: list[Exception | None] = []
    for request, frames in zip(requests, found, strict=True):
        prepared = model.prepare(request)
        generation = model.generation(prepared, Session.open(prepared.seeds))
        batch.add(ActiveGeneration(generation, frames.append, errors.append))
    while len(batch):
        batch.step()
    assert errors == [None] * len(requests)
    return [torch.cat(frames, dim=-1) for frames in found]
