"""What every weight file becomes once it is read: a kind, a configuration, tensors. It builds no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

Kind = Literal["compression", "lm"]
"""The two families of networks that are loaded by name."""

NAMES: dict[Kind, str] = {"compression": "codec", "lm": "language model"}
"""How messages call them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A network's configuration tree and weights, whatever file they came from.

    Args:
        config: plain nested dicts; may be a whole training configuration, builders select what they need.
        tensors: parameter name -> value on the CPU, in the dtype they were stored in.
        meta: anything else that was stored, such as steps trained or the version that wrote it.
        source: the file, for messages and provenance.
    """

    kind: Kind
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict)
    source: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """A file that only names the model to load instead."""

    kind: Kind
    name: str
    source: Path
