"""What a checkpoint contains: everything that has a state, the random number generators, and nothing else.
Restoring it continues the run as if it had not stopped."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from audiocraft.checkpoints.files import load_checkpoint
from audiocraft.errors import CheckpointError


class HasState(Protocol):
    """This protocol describes anything torch-like that can be saved."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


class RandomState:
    """This object gives the global generators of torch, numpy and Python one state."""

    def state_dict(self) -> dict[str, Any]:
        name, keys, position, has_gauss, cached = np.random.get_state()
        version, numbers, gauss = random.getstate()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [
                str(name),
                torch.from_numpy(np.asarray(keys).astype(np.int64)),
                position,
                has_gauss,
                cached,
            ],
            "python": [version, list(numbers), gauss],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
        name, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
        version, numbers, gauss = state["python"]
        random.setstate((version, tuple(numbers), gauss))


class Stateful:
    """This object holds the named parts of a run that a checkpoint holds.

    Args:
        optional: names of parts that a checkpoint of an earlier version may lack; they start anew then.
    """

    def __init__(self, parts: Mapping[str, HasState], *, optional: Collection[str] = ()) -> None:
        self.parts = {**parts, "random": RandomState()}
        self.optional = frozenset(optional)

    def state(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"progress": dict(progress), **{name: part.state_dict() for name, part in self.parts.items()}}

    def restore(self, path: Path) -> dict[str, Any]:
        """Put every part back; returns the progress that was saved with them."""
        state = load_checkpoint(path)
        missing = [name for name in (*self.parts, "progress") if name not in state]
        missing = [name for name in missing if name not in self.optional]
        if missing:
            raise CheckpointError(f"{path} has no {', '.join(missing)}: it belongs to another configuration")
        for name, part in self.parts.items():
            if name not in state:
                continue
            try:
                part.load_state_dict(state[name])
            except (RuntimeError, ValueError, KeyError) as error:
                raise CheckpointError(f"{path}: {name} does not fit this configuration: {error}") from error
        progress: dict[str, Any] = state["progress"]
        return progress


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the random number generators as they were, whatever the block draws from them."""
    random_state = RandomState()
    before = random_state.state_dict()
    try:
        yield
    finally:
        random_state.load_state_dict(before)


@contextmanager
def swapped(model: torch.nn.Module, state: Mapping[str, torch.Tensor] | None) -> Iterator[None]:
    """Give the model other weights for a while (its moving average); None changes nothing."""
    if state is None:
        yield
        return
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict({**own, **state})
    try:
        yield
    finally:
        model.load_state_dict(own)
