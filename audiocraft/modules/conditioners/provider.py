"""From what the rows of a batch are conditioned on to embedded conditions, by attribute name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.modules.conditioners.base import BaseConditioner
from audiocraft.types import (
    ConditioningAttributes,
    ConditionType,
    JointEmbedCondition,
    StyleSettings,
    SymbolicCondition,
    WavCondition,
)


class ConditioningProvider(nn.Module):
    """This provider gives every conditioner its part of the attributes. Texts and symbolic attributes that a row lacks
    are None; waveforms must be there (null ones, for none).

    Args:
        conditioners: by attribute name.
        device: accepted for upstream's callers; conditioners know their own.
    """

    def __init__(
        self, conditioners: Mapping[str, BaseConditioner], device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        self.device = device
        self.conditioners = nn.ModuleDict(conditioners)

    @property
    def text_conditions(self) -> list[str]:
        return self._names("text")

    @property
    def wav_conditions(self) -> list[str]:
        return self._names("wav")

    @property
    def joint_embed_conditions(self) -> list[str]:
        return self._names("joint_embed")

    @property
    def symbolic_conditions(self) -> list[str]:
        return self._names("symbolic")

    @property
    def has_wav_condition(self) -> bool:
        return bool(self.wav_conditions)

    @property
    def has_joint_embed_conditions(self) -> bool:
        return bool(self.joint_embed_conditions)

    def tokenize(self, inputs: Sequence[ConditioningAttributes]) -> dict[str, Any]:
        """Return what can be prepared without the weights, by attribute name: texts, then waveforms, then others."""
        for item in inputs:
            if not isinstance(item, ConditioningAttributes):
                raise InvalidInput(
                    f"conditions are ConditioningAttributes, one per row, got {type(item).__name__}",
                    field="inputs",
                )
        collated: dict[str, Any] = {
            name: [row.text.get(name) for row in inputs] for name in self.text_conditions
        }
        for name in self.wav_conditions:
            collated[name] = collate_wavs([self._present(row, "wav", name) for row in inputs])
        for name in self.joint_embed_conditions:
            collated[name] = collate_joint_embeds([self._present(row, "joint_embed", name) for row in inputs])
        for name in self.symbolic_conditions:
            conditions: list[SymbolicCondition | None] = [row.symbolic.get(name) for row in inputs]
            collated[name] = conditions
        conditioners = cast(Mapping[str, BaseConditioner], self.conditioners)
        return {name: conditioners[name].tokenize(batch) for name, batch in collated.items()}

    def null_attributes(self) -> ConditioningAttributes:
        """Return a row that asks for nothing."""
        wav = {
            name: WavCondition(
                torch.zeros(1, 1, 1, device="cpu"),
                torch.zeros(1, dtype=torch.long, device="cpu"),
                [self._rate(name)],
                [None],
                [None],
            )
            for name in self.wav_conditions
        }
        joint_embed = {
            name: JointEmbedCondition(
                torch.zeros(1, 1, 1, device="cpu"),
                [None],
                torch.zeros(1, dtype=torch.long, device="cpu"),
                [self._rate(name)],
                [None],
                [0.0],
            )
            for name in self.joint_embed_conditions
        }
        return ConditioningAttributes(wav=wav, joint_embed=joint_embed)

    def forward(self, tokenized: Mapping[str, Any]) -> dict[str, ConditionType]:
        """Embed all conditions: the result maps each name to (embedding [B, L, D], mask [B, L])."""
        return {name: self.conditioners[name](batch) for name, batch in tokenized.items()}

    def _rate(self, name: str) -> int:
        return int(getattr(self.conditioners[name], "sample_rate", 1))

    def _names(self, kind: str) -> list[str]:
        return [name for name, conditioner in self.conditioners.items() if conditioner.kind == kind]

    def _present(self, row: ConditioningAttributes, kind: str, name: str) -> Any:
        if name not in row[kind]:
            raise InvalidInput(
                f"this model is conditioned on the {kind} attribute {name!r}, which a row lacks; "
                "give it, or its null form",
                field=name,
            )
        return row[kind][name]


def collate_wavs(rows: Sequence[WavCondition]) -> WavCondition:
    """Join to one batch of mono waveforms [B, 1, N], padded at the end, from rows [1, C, N]."""
    return WavCondition(
        wav=_stack([row.wav for row in rows]),
        length=torch.cat([row.length for row in rows]),
        sample_rate=[rate for row in rows for rate in row.sample_rate],
        path=[path for row in rows for path in row.path],
        seek_time=[time for row in rows for time in row.seek_time],
        style=_shared_style(rows),
    )


def _shared_style(rows: Sequence[WavCondition]) -> StyleSettings | None:
    styles = {row.style for row in rows if row.style is not None}
    if len(styles) > 1:
        raise InvalidInput("the rows of a batch read their styles with the same settings", field="style")
    return next(iter(styles), None)


def collate_joint_embeds(rows: Sequence[JointEmbedCondition]) -> JointEmbedCondition:
    """Join waveforms as `collate_wavs` does, together with their texts."""
    return JointEmbedCondition(
        wav=_stack([row.wav for row in rows]),
        text=[text for row in rows for text in row.text],
        length=torch.cat([row.length for row in rows]),
        sample_rate=[rate for row in rows for rate in row.sample_rate],
        path=[path for row in rows for path in row.path],
        seek_time=[time for row in rows for time in row.seek_time],
    )


def _stack(wavs: Sequence[torch.Tensor]) -> torch.Tensor:
    for wav in wavs:
        if wav.dim() != 3 or wav.shape[0] != 1:
            raise InvalidInput(f"the waveform of a row is [1, C, N], got {list(wav.shape)}", field="wav")
    longest = max(wav.shape[-1] for wav in wavs)
    return torch.cat([F.pad(wav.mean(1, keepdim=True), (0, longest - wav.shape[-1])) for wav in wavs])
