"""What every weight file becomes once it is read: a kind, a configuration, tensors. It builds no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audiocraft.errors import CheckpointError

if TYPE_CHECKING:  # records are read where torch is not wanted
    from torch import Tensor

Kind = Literal["compression", "lm", "detector"]
"""The families of networks that are loaded by name."""

NAMES: dict[Kind, str] = {"compression": "codec", "lm": "language model", "detector": "detector"}
"""How messages call them."""


class OtherKind(CheckpointError):
    """What was found holds no network of the kind that was looked for, but it may hold another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A network's configuration tree and weights, whatever file they came from.

    Args:
        config: plain nested dicts; may be a whole training configuration, builders select what they need.
        tensors: parameter name -> value on the CPU, in the dtype they were stored in.
        meta: anything else that was stored, such as steps trained or the version that wrote it.
        source: the file, for messages and provenance.
        ranks: over how many processes a training run had spread the weights. If several, tensors may have lost their
            shape (`shards.shaped` gives it back to those who know the network).
    """

    kind: Kind
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict)
    source: Path
    ranks: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """A file that only names the model to load instead."""

    kind: Kind
    name: str
    source: Path
