"""Entropy tables as the compiled kernels read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audiocraft.codec.context_model import HIDDEN_MOST, ContextModel
from audiocraft.kernels.codec_structs import SymbolTables

_MOST = 2.0**31 - 1


class PackedTables:
    """Packed tables take 32 bits a number.

    Args:
        starts: for each codebook where the intervals of its V + 1 symbols begin, and 2^16.
        context: the context model, where there is one.
    """

    def __init__(self, starts: Sequence[Sequence[int]], context: ContextModel | None) -> None:
        self._arrays = {"starts": np.array(starts, dtype=np.int32)}
        self._context = context is not None and _fits(context)
        self.tables = SymbolTables(codebooks=len(starts), symbols=len(starts[0]) - 1)
        if context is not None and self._context:
            for name in ("embed", "past", "same", "hidden_bias", "out", "out_bias"):
                self._arrays[name] = np.ascontiguousarray(getattr(context, name), dtype=np.int32)
            self.tables.width, self.tables.hidden = context.embed.shape[2], context.out.shape[1]
            self.tables.frames = context.frames_of_past
        for name, array in self._arrays.items():
            setattr(self.tables, name, array.ctypes.data)

    def reads(self, context: bool) -> bool:
        """Return whether the kernels can read with these tables, or with their context model."""
        return self._context or not context


def _fits(model: ContextModel) -> bool:
    """Return whether no sum of a model can leave 32 bits, whatever the codes are."""

    def sums(inputs: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(inputs @ np.abs(weights))

    embed = np.abs(model.embed)
    largest = (embed[:, :-1].max(axis=1) + embed[:, -1]).reshape(-1)  # [K * E]
    hidden = sums(np.tile(largest, model.frames_of_past), model.past.reshape(model.past.shape[0], -1))
    hidden = hidden.reshape(model.hidden_bias.shape) + sums(largest, model.same) + np.abs(model.hidden_bias)
    out = sums(np.full(model.out.shape[1], float(HIDDEN_MOST)), model.out) + np.abs(model.out_bias)
    return bool(max(hidden.max(), out.max(), model.embed.max()) < _MOST)
