"""The causal context model of .acx files: a small network in whole numbers that says how likely each code is, after the
codes before it. Whole numbers, because a reader must find exactly the probabilities that the writer had, anywhere.

    z_t    = the embeddings of all codebooks in the frames t-1 ... t-P, one after another; zeros before the block
    y_t,k  = the embeddings of the codebooks 0 ... k-1 in frame t; zeros for the others
    h_t,k  = clip((z_t @ past_k + y_t,k @ same_k + hidden_bias_k) >> 7, 0, 127)
    bits   = (h_t,k @ out_k + out_bias_k) >> 6                in sixteenths of a bit
    weight = 2^((bits - max(bits)) / 16), as `weights_of` rounds it

What is coded are symbols: a code, or V, which says that the code is that of the frame before. The embedding of a code
that was repeated is the sum of the code's own and that of V. A block knows nothing of the blocks before it, so that
each can be read alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audiocraft.codec.rans import SCALE

HIDDEN_SHIFT, BITS_SHIFT, HIDDEN_MOST = 7, 6, 127
# 2^24 times 2 to the power of -i/16, rounded down.
_FRACTIONS = np.array(
    [
        16777216, 16065917, 15384774, 14732510, 14107900, 13509772, 12937002, 12388515,
        11863283, 11360318, 10878678, 10417458, 9975792, 9552851, 9147841, 8760003,
    ],
    dtype=np.int64,
)  # fmt: skip
_LEAST = 24 * 16 - 1  # sixteenths of a bit below the likeliest code, where weights reach 1

FloatMatrix = npt.NDArray[np.float64]
"""Whole numbers below 2^53: products and sums of them are exact in any order, and BLAS is fast with them."""


def weights_of(bits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Turn log-probabilities [..., V + 1] in sixteenths of a bit into weights [..., V + 1] of at most 2^24."""
    below = np.minimum(bits.max(axis=-1, keepdims=True) - bits, _LEAST)
    return _FRACTIONS[below & 15] >> (below >> 4)


def frequency_rows(weights: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Apply `rans.frequencies_of` to each row of weights [n, V + 1]."""
    room = SCALE - weights.shape[-1]
    found = 1 + weights * room // weights.sum(axis=-1, keepdims=True)
    rows = np.arange(len(found))
    found[rows, weights.argmax(axis=-1)] += SCALE - found.sum(axis=-1)
    return found


@dataclass(frozen=True, slots=True)
class ContextModel:
    """This record holds the network that says how likely codes are: for K codebooks of V codes, with P frames of past,
    embeddings of E numbers and D hidden ones.

    Args:
        embed: [K, V + 1, E].
        past: [P * K * E, K, D].
        same: [K, K * E, D].
        hidden_bias: [K, D].
        out: [K, D, V + 1].
        out_bias: [K, V + 1].
    """

    embed: FloatMatrix
    past: FloatMatrix
    same: FloatMatrix
    hidden_bias: FloatMatrix
    out: FloatMatrix
    out_bias: FloatMatrix

    @property
    def frames_of_past(self) -> int:
        """Return how many frames of the past the model reads, P."""
        return self.past.shape[0] // (self.embed.shape[0] * self.embed.shape[2])

    def frequencies(self, codes: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Find, for codes [k, T] of the first k codebooks of a block, the frequencies [T, V + 1] of each codebook."""
        count, length = codes.shape
        books, _, width = self.embed.shape
        embedded = np.zeros((length, books, width))
        for book in range(count):
            embedded[:, book] = self.embed[book][codes[book]]
            repeats = np.zeros(length, dtype=bool)
            repeats[1:] = codes[book, 1:] == codes[book, :-1]
            embedded[repeats, book] += self.embed[book, -1]
        flat = embedded.reshape(length, -1)
        span = self.frames_of_past
        padded = np.concatenate([np.zeros((span, flat.shape[1])), flat])
        seen = np.concatenate(
            [padded[span - lag : span - lag + length] for lag in range(1, span + 1)], axis=1
        )
        for book in range(count):
            known = flat[:, : book * width] @ self.same[book, : book * width]
            yield frequency_rows(self._weights(book, seen @ self.past[:, book] + known))

    def reader(self, count: int) -> ContextReader:
        """Return what finds the frequencies of the first `count` codebooks one code at a time."""
        return ContextReader(self, count)

    def _weights(self, book: int, heard: FloatMatrix) -> npt.NDArray[np.int64]:
        hidden = np.floor((heard + self.hidden_bias[book]) / 2**HIDDEN_SHIFT).clip(0, HIDDEN_MOST)
        bits = np.floor((hidden @ self.out[book] + self.out_bias[book]) / 2**BITS_SHIFT)
        return weights_of(bits.astype(np.int64))


class ContextReader:
    """This reader holds the frequencies of a block whose codes become known one after another."""

    def __init__(self, model: ContextModel, count: int) -> None:
        books, _, width = model.embed.shape
        self._model, self._width = model, width
        self._seen = np.zeros((model.frames_of_past, books * width))  # the last frame first
        self._frame = np.zeros(books * width)
        self._past = np.ascontiguousarray(model.past[:, :count].reshape(model.past.shape[0], -1))
        self._heard = np.zeros((count, model.past.shape[2]))
        self._starts = np.zeros(model.out.shape[2] + 1, dtype=np.int64)

    def begin_frame(self) -> None:
        """Begin the next frame, whose codes follow."""
        self._heard = (self._seen.reshape(-1) @ self._past).reshape(self._heard.shape)
        self._frame = np.zeros_like(self._frame)

    def starts(self, book: int) -> npt.NDArray[np.int64]:
        """List where the interval of each symbol of codebook `book` begins, and 2^16 at the end."""
        upto = book * self._width
        heard = self._heard[book] + self._frame[:upto] @ self._model.same[book, :upto]
        # As `frequency_rows` of one row, without the cost of many.
        weights = self._model._weights(book, heard)
        found = weights * (SCALE - len(weights)) // weights.sum() + 1
        found[weights.argmax()] += SCALE - found.sum()
        self._starts[1 : len(found) + 1] = found.cumsum()
        return self._starts

    def add(self, book: int, code: int, *, repeated: bool) -> None:
        """Note that the code of codebook `book` was read."""
        place, table = book * self._width, self._model.embed[book]
        self._frame[place : place + self._width] = table[code] + table[-1] if repeated else table[code]

    def end_frame(self) -> None:
        """Note that all codes of the frame were read."""
        self._seen = np.concatenate([self._frame[None], self._seen[:-1]])
