"""Weights into a network that was built without memory: every name and shape must match, every value be a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from audiocraft.checkpoints.families import ModelFamily, default_of, family_called, kind_called, target
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.torch_files.shards import shaped
from audiocraft.errors import CheckpointError, ConfigError

M = TypeVar("M", bound=nn.Module)


def family_of_checkpoint(checkpoint: Checkpoint) -> ModelFamily:
    """Find the family that a checkpoint names, or the default of its kind."""
    return family_called(checkpoint.family) if checkpoint.family else default_of(checkpoint.kind)


def config_of(checkpoint: Checkpoint) -> Any:
    """Read the configuration record of a checkpoint."""
    try:
        return target(family_of_checkpoint(checkpoint).config).select(checkpoint.config)
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint.source}: {error}") from error


def network_of(checkpoint: Checkpoint, config: Any = None) -> nn.Module:
    """Build the network of a checkpoint on the "meta" device, where it has shapes without values."""
    config = config_of(checkpoint) if config is None else config
    try:
        network: nn.Module = target(family_of_checkpoint(checkpoint).build)(config, device="meta")
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint.source}: {error}") from error
    return network


def filled(model: M, checkpoint: Checkpoint) -> M:
    """Let `model`, built without memory, take over the tensors of `checkpoint`; every name and shape must match."""
    checkpoint = _shaped(model, checkpoint)
    tensors = checkpoint.tensors
    _check_names(model.state_dict(), tensors, checkpoint)
    _check_values(tensors, checkpoint)
    model.load_state_dict(tensors, strict=True, assign=True)
    empty = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    assert not empty, f"left without values: {empty}"
    return model.eval()


def with_shapes(checkpoint: Checkpoint) -> Checkpoint:
    """Return `checkpoint` with the shapes that a training run on several processes does not write down."""
    if checkpoint.ranks == 1:
        return checkpoint
    return _shaped(network_of(checkpoint), checkpoint)


def _shaped(model: nn.Module, checkpoint: Checkpoint) -> Checkpoint:
    if checkpoint.ranks == 1:
        return checkpoint
    tensors = dict(checkpoint.tensors)
    for name, expected in model.state_dict().items():
        if name not in tensors:
            continue
        found = shaped(tensors[name], expected.shape, checkpoint.ranks)
        if found is None:
            raise CheckpointError(
                f"{checkpoint.source}: the parts of {name} are {tensors[name].numel()} values, "
                f"and {expected.numel()} are expected; are these files of one run and one step?"
            )
        tensors[name] = found
    return replace(checkpoint, tensors=tensors, ranks=1)


def _check_names(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    wrong = [
        f"{name} (expected {list(expected[name].shape)}, found {list(found[name].shape)})"
        for name in expected
        if name in found and expected[name].shape != found[name].shape
    ]
    for problem, names in (
        ("is missing", missing),
        ("has no use for", extra),
        ("has other shapes for", wrong),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(
                f"{checkpoint.source} does not fit its own configuration: the {kind_called(checkpoint.kind).title} "
                f"{problem} {', '.join(names[:3])}{more}"
            )


def _check_values(tensors: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """Refuse weights that would turn every output into noise or silence without a word."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        # A sum is one pass without a copy; only where it is not finite, each value is looked at.
        if not torch.isfinite(tensor.sum(dtype=torch.float32)) and not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{checkpoint.source}: {name} holds values that are no numbers (NaN or infinite); "
                "the file is damaged, or its training diverged"
            )
