"""What every weight file becomes once it is read: a kind, a configuration, tensors. It builds no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # records are read where torch is not wanted
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint is a network's configuration tree and weights, whatever file they came from.

    Args:
        kind: of the network; see `checkpoints.families`.
        family: of the model, by name; "" where whoever made this record left it open.
        config: plain nested dicts; may be a whole training configuration, builders select what they need.
        tensors: parameter name -> value on the CPU, in the dtype they were stored in.
        meta: anything else that was stored, such as steps trained or the version that wrote it.
        source: the file, for messages and provenance.
        ranks: over how many processes a training run had spread the weights. If several, tensors may have lost their
            shape (`shards.shaped` gives it back to those who know the network).
    """

    kind: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict)
    source: Path
    ranks: int = 1
    family: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """A pointer is a file that only names the model to load instead."""

    kind: str
    name: str
    source: Path
