"""Learns how likely the codes of a codec are: the tables and the context model that make its .acx files smaller.

The network of `context_model` is trained as it will run: weights and hidden values are rounded on the way forward and
passed through on the way back (straight-through estimator, Bengio et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.codec.context_model import BITS_SHIFT, HIDDEN_MOST, HIDDEN_SHIFT
from audiocraft.codec.entropy import symbols_of
from audiocraft.codec.rans import frequencies_of
from audiocraft.errors import InvalidInput

# What one means in whole numbers.
_EMBED, _WEIGHT = 32, 64
_HIDDEN = _EMBED * _WEIGHT >> HIDDEN_SHIFT
_BITS = _HIDDEN * _WEIGHT
_SIXTEENTHS = _BITS >> BITS_SHIFT
_LARGEST = 127


@dataclass(frozen=True, slots=True)
class ContextSize:
    """This record says how large a context model is, and how it is trained.

    Args:
        past: frames that it looks back.
        embed, hidden: width of an embedding, and of the hidden layer of each codebook.
        epochs: how often the recordings are heard.
        batch: pieces of a step.
        dropout: share of the embeddings of a step that are hidden from it.
    """

    past: int = 3
    embed: int = 16
    hidden: int = 64
    epochs: int = 8
    batch: int = 32
    learning_rate: float = 4e-3
    dropout: float = 0.1


def static_tables(codes: npt.NDArray[np.int64], cardinality: int) -> npt.NDArray[np.uint16]:
    """Count the symbols of codes [n, K, T] of pieces into frequencies [K, V + 1], of which each codebook's sum to
    2^16."""
    rows, symbols = [], symbols_of(codes, cardinality)
    for book in range(codes.shape[1]):
        counts = np.bincount(symbols[:, book].reshape(-1), minlength=cardinality + 1)
        # A symbol that was not heard may still come: it weighs half a sighting.
        rows.append(frequencies_of([2 * int(count) + 1 for count in counts]))
    return np.array(rows, dtype=np.uint16)


def train_context(
    codes: npt.NDArray[np.int64],
    cardinality: int,
    size: ContextSize,
    *,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> dict[str, npt.NDArray[np.int32]]:
    """Train a `ContextModel` on codes [n, K, T] of pieces of one length, and return its arrays.

    Args:
        report: called with the number of an epoch and its mean bits per code.
    """
    if codes.ndim != 3 or not codes.size:
        raise InvalidInput("codes to learn from must be [pieces, codebooks, frames]", field="codes")
    generator = torch.Generator().manual_seed(seed)
    network = _Network(codes.shape[1], cardinality, size, generator)
    symbols = symbols_of(codes, cardinality)
    network.out_bias.data.copy_(_log2_shares(symbols, cardinality + 1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=size.learning_rate, weight_decay=1e-3)
    data = torch.from_numpy(np.stack([codes, symbols], axis=1)).long()
    steps = max(1, len(data) // size.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, size.learning_rate, total_steps=steps * size.epochs, pct_start=0.1
    )
    for epoch in range(size.epochs):
        order, total = torch.randperm(len(data), generator=generator), 0.0
        for step in range(steps):
            chosen = data[order[step * size.batch : (step + 1) * size.batch]]
            bits = network(chosen, generator)
            optimiser.zero_grad()
            bits.backward()
            optimiser.step()
            schedule.step()
            total += float(bits.detach())
        if report is not None:
            report(epoch, total / steps)
    return network.arrays()


def _log2_shares(symbols: npt.NDArray[np.int64], count: int) -> Tensor:
    """Map symbols [n, K, T] to [K, count]."""
    counts = np.stack([np.bincount(book.reshape(-1), minlength=count) for book in symbols.swapaxes(0, 1)])
    shares = torch.from_numpy(counts).float() + 0.5
    return (shares / shares.sum(dim=1, keepdim=True)).log2()


class _Network(nn.Module):
    """This network is the context model in floating point, rounded to what whole numbers can say."""

    def __init__(self, books: int, cardinality: int, size: ContextSize, generator: torch.Generator) -> None:
        super().__init__()
        self.size = size

        def normal(*shape: int, spread: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * spread)

        inputs = (size.past * books + books) * size.embed
        self.embed = normal(books, cardinality + 1, size.embed, spread=0.5)
        self.past = normal(size.past * books * size.embed, books, size.hidden, spread=2 * inputs**-0.5)
        self.same = normal(books, books * size.embed, size.hidden, spread=2 * inputs**-0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(books, size.hidden))
        self.out = normal(books, size.hidden, cardinality + 1, spread=0.02)
        self.out_bias = nn.Parameter(torch.zeros(books, cardinality + 1))

    def forward(self, data: Tensor, generator: torch.Generator) -> Tensor:
        """Map codes and symbols [B, 2, K, T] to the mean bits of a symbol []."""
        codes, symbols = data.unbind(dim=1)
        books, length = codes.shape[1:]
        repeated = (symbols == self.out_bias.shape[1] - 1).float()
        table = _rounded(self.embed, _EMBED)
        embedded = torch.stack([F.embedding(codes[:, book], table[book]) for book in range(books)], dim=2)
        embedded = embedded + repeated.transpose(1, 2)[..., None] * table[:, -1]  # [B, T, K, E]
        if self.size.dropout:
            kept = torch.rand(embedded.shape[:3], generator=generator) >= self.size.dropout
            embedded = embedded * kept[..., None]
        flat = embedded.flatten(2)
        padded = F.pad(flat, (0, 0, self.size.past, 0))
        seen = torch.cat(
            [padded[:, self.size.past - lag :][:, :length] for lag in range(1, self.size.past + 1)], dim=-1
        )
        past, same = _rounded(self.past, _WEIGHT), _rounded(self.same, _WEIGHT)
        losses = []
        for book in range(books):
            upto = book * self.size.embed
            heard = seen @ past[:, book] + flat[..., :upto] @ same[book, :upto] + self.hidden_bias[book]
            hidden = _rounded(heard, _HIDDEN, least=0, most=HIDDEN_MOST)
            bits = hidden @ _rounded(self.out[book], _WEIGHT) + self.out_bias[book]
            losses.append(F.cross_entropy(bits.flatten(0, 1) * math.log(2), symbols[:, book].reshape(-1)))
        return torch.stack(losses).mean() / math.log(2)

    @torch.no_grad()
    def arrays(self) -> dict[str, npt.NDArray[np.int32]]:
        """Return all weights in whole numbers. Half a step is added to what is cut off, not rounded."""
        whole = {
            "embed": _rounded(self.embed, _EMBED) * _EMBED,
            "past": _rounded(self.past, _WEIGHT) * _WEIGHT,
            "same": _rounded(self.same, _WEIGHT) * _WEIGHT,
            "hidden_bias": self.hidden_bias * (_EMBED * _WEIGHT) + (1 << HIDDEN_SHIFT) / 2,
            "out": _rounded(self.out, _WEIGHT) * _WEIGHT,
            "out_bias": self.out_bias * _BITS + (1 << BITS_SHIFT) / 2,
        }
        return {name: value.round().to(torch.int32).numpy() for name, value in whole.items()}


def _rounded(x: Tensor, one: int, *, least: int = -_LARGEST, most: int = _LARGEST) -> Tensor:
    """Return x as a whole number of 1 / `one` within the bounds, with the gradient that it would have without
    rounding."""
    bounded = x.clamp(least / one, most / one)
    return bounded + ((bounded * one).round() / one - bounded).detach()


assert _SIXTEENTHS == 16
