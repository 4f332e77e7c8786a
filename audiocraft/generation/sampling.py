"""From logits to codes. Each row draws from its own generator, so its codes do not depend on its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiocraft.generation.request import ChosenSampling, Sampling


def sample(
    logits: Tensor, sampling: Sampling | ChosenSampling, generators: Sequence[torch.Generator]
) -> Tensor:
    """Draw codes [B, K] from logits [B, K, V] with one generator per row."""
    if isinstance(sampling, Sampling):
        sampling = sampling.settled()
    if sampling.greedy:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p > 0:
        probabilities = keep_top_p(probabilities, sampling.top_p)
    elif sampling.top_k > 0:
        probabilities = keep_top_k(probabilities, sampling.top_k)
    # With E exponential noise, the argmax of p / E is a draw from p: no normalisation and no device sync. The noise
    # is drawn on the CPU so that a seed means the same everywhere, and sent from pinned memory so that the CPU does
    # not wait for the GPU.
    noise = torch.empty(logits.shape, device="cpu", pin_memory=logits.is_cuda)
    for row, generator in zip(noise, generators, strict=True):
        row.exponential_(generator=generator)
    return (probabilities / noise.to(probabilities.device, non_blocking=True)).argmax(dim=-1)


def keep_top_k(probabilities: Tensor, k: int) -> Tensor:
    """Set all but the `k` largest of the last axis to 0."""
    values, places = probabilities.topk(min(k, probabilities.shape[-1]), dim=-1)
    return torch.zeros_like(probabilities).scatter_(-1, places, values)


def keep_top_p(probabilities: Tensor, p: float) -> Tensor:
    """Return probabilities with all but the fewest entries of the last axis that hold the mass `p` set to 0; the
    largest always stays."""
    values, places = probabilities.sort(dim=-1, descending=True, stable=True)
    before = values.cumsum(dim=-1) - values
    return torch.zeros_like(probabilities).scatter_(-1, places, values.masked_fill(before > p, 0.0))
