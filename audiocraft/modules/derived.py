"""Tensors that are computed from parameters and kept for as long as these stay the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CacheKey = tuple[tuple[int, int], ...]


class Derived:
    """This object keeps one such tensor. It is no part of state dicts, copies or pickles, and never stands in the
    way of gradients."""

    def __init__(self) -> None:
        self._kept: tuple[CacheKey, Tensor] | None = None

    def get(
        self, sources: tuple[Tensor, ...], make: Callable[[], Tensor], *, training: bool = False
    ) -> Tensor:
        """Return what `make` returns, from `sources` alone; made anew where one of them has changed or may be trained.

        Args:
            training: whether the module is; fused optimisers change parameters without counting it.
        """
        if torch.is_grad_enabled() or training:
            self._kept = None
            return make()
        # Tensors made in inference mode do not count their changes (and neither do writes through `.data`).
        if any(source.is_inference() for source in sources):
            return make()
        key = tuple((source.data_ptr(), source._version) for source in sources)
        kept = self._kept  # one read, so that other threads may replace it meanwhile
        if kept is None or kept[0] != key or kept[1].dtype != sources[0].dtype:
            with torch.inference_mode(False), torch.no_grad():
                kept = self._kept = (key, make())
        return kept[1]

    def drop(self) -> None:
        """Forget it: its sources may change uncounted from now on."""
        self._kept = None

    def __deepcopy__(self, memo: dict[int, object]) -> Derived:
        return Derived()

    def __reduce__(self) -> tuple[type[Derived], tuple[()]]:
        return Derived, ()
