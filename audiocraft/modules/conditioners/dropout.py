"""Forgetting conditions in training, so that a model also learns to do without them; and in generation, where
guidance compares a model with and without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from audiocraft.errors import InvalidInput
from audiocraft.modules.conditioners.base import (
    nullify_chords,
    nullify_joint_embed,
    nullify_melody,
    nullify_symbolic,
    nullify_wav,
)
from audiocraft.types import ConditioningAttributes, SymbolicCondition

KINDS = ("text", "wav", "joint_embed", "symbolic")

_NULLS: dict[str, Callable[[Any], Any]] = {
    "text": lambda _: None,
    "wav": nullify_wav,
    "joint_embed": nullify_joint_embed,
}


def dropout_condition(
    sample: ConditioningAttributes, condition_type: str, condition: str, **kwargs: Any
) -> ConditioningAttributes:
    """Drop the attribute `condition` of kind `condition_type` from `sample`, in place; returns `sample`.

    Args:
        kwargs: `null_chord_idx`, for symbolic conditions.
    """
    if condition_type not in KINDS:
        raise InvalidInput(
            f"condition_type {condition_type!r} is not one of {', '.join(KINDS)}", field="condition_type"
        )
    attributes = sample[condition_type]
    if condition not in attributes:
        raise InvalidInput(
            f"no {condition_type} condition {condition!r}; there are: {', '.join(attributes) or 'none'}",
            field="condition",
        )
    if condition_type == "symbolic":
        return dropout_symbolic_conditions(sample, condition, **kwargs)
    attributes[condition] = _NULLS[condition_type](attributes[condition])
    return sample


def dropout_symbolic_conditions(
    sample: ConditioningAttributes, condition: str, null_chord_idx: int = 194
) -> ConditioningAttributes:
    """Drop the chords, the melody or the whole symbolic condition called `condition`, in place."""
    if condition not in sample.symbolic:
        raise InvalidInput(
            f"no symbolic condition {condition!r}; there are: {', '.join(sample.symbolic) or 'none'}",
            field="condition",
        )
    nulls: dict[str, Callable[[SymbolicCondition], SymbolicCondition]] = {
        "chords": lambda present: nullify_chords(present, null_chord_idx),
        "melody": nullify_melody,
    }
    nullify = nulls.get(condition, lambda present: nullify_symbolic(present, null_chord_idx))
    sample.symbolic[condition] = nullify(sample.symbolic[condition])
    return sample


def unconditional(
    samples: Sequence[ConditioningAttributes], kinds: Sequence[str] = KINDS, **kwargs: Any
) -> list[ConditioningAttributes]:
    """Return these rows without any condition of these kinds, as guidance compares with."""
    copies = [_copy(sample) for sample in samples]
    for sample in copies:
        for kind in kinds:
            for name in list(sample[kind]):
                dropout_condition(sample, kind, name, **(kwargs if kind == "symbolic" else {}))
    return copies


def _copy(sample: ConditioningAttributes) -> ConditioningAttributes:
    """Return new dicts around the same values: dropping replaces values, it never writes into them."""
    return replace(sample, **{kind: dict(sample[kind]) for kind in KINDS})


class DropoutModule(nn.Module):
    """This module draws from a generator of its own, or from one that the caller hands over.

    Args:
        seed: of its own generator.
    """

    def __init__(self, seed: int = 1234) -> None:
        super().__init__()
        self.rng = torch.Generator()
        self.rng.manual_seed(seed)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the generator as bytes: torch cannot hand a generator to a spawned process."""
        state: dict[str, Any] = super().__getstate__()
        return {**state, "rng": bytes(self.rng.get_state().numpy())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        content = torch.frombuffer(bytearray(state["rng"]), dtype=torch.uint8)
        super().__setstate__({**state, "rng": torch.Generator()})
        self.rng.set_state(content)

    def _draw(self, generator: torch.Generator | None) -> float:
        return torch.rand(1, generator=self.rng if generator is None else generator).item()


class AttributeDropout(DropoutModule):
    """This module drops each attribute with its own probability, for the whole batch at once.

    Args:
        p: {kind: {attribute: probability}}.
        active_on_eval: drop outside training too.
    """

    def __init__(
        self, p: Mapping[str, Mapping[str, float]], active_on_eval: bool = False, seed: int = 1234
    ) -> None:
        super().__init__(seed)
        unknown = set(p) - set(KINDS)
        if unknown:
            raise InvalidInput(f"attribute dropout of unknown kinds: {', '.join(sorted(unknown))}", field="p")
        self.p = {kind: dict(chances) for kind, chances in p.items()}
        self.active_on_eval = active_on_eval

    def forward(
        self, samples: list[ConditioningAttributes], *, generator: torch.Generator | None = None
    ) -> list[ConditioningAttributes]:
        """Return copies of the samples with the drawn attributes dropped; the samples stay as they are."""
        if not self.training and not self.active_on_eval:
            return samples
        samples = [_copy(sample) for sample in samples]
        for kind, chances in self.p.items():
            for name, chance in chances.items():
                if self._draw(generator) < chance:
                    for sample in samples:
                        dropout_condition(sample, kind, name)
        return samples

    def extra_repr(self) -> str:
        return f"p={self.p}"


class ClassifierFreeGuidanceDropout(DropoutModule):
    """This module drops all conditions of a batch, with probability p, in training.

    Args:
        p: probability.
    """

    def __init__(self, p: float, seed: int = 1234) -> None:
        super().__init__(seed)
        if not 0 <= p <= 1:
            raise InvalidInput(f"a probability lies between 0 and 1, got {p}", field="p")
        self.p = p

    def forward(
        self,
        samples: list[ConditioningAttributes],
        cond_types: Sequence[str] = KINDS,
        *,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> list[ConditioningAttributes]:
        """Return the samples, or copies without conditions of these kinds; kwargs are those of `dropout_condition`."""
        if not self.training or not self._draw(generator) < self.p:
            return samples
        return unconditional(samples, cond_types, **kwargs)

    def extra_repr(self) -> str:
        return f"p={self.p}"
