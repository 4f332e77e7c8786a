"""A toy of another decoder for the codes of a codec that exists (as MultiBandDiffusion is)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.checkpoints.families import ModelFamily, NetworkKind
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.write import write_model


class Vocoder(nn.Module):
    """Codes [B, K, T] of `nano` -> one click per frame, as loud as its first code is high. It is its own stream."""

    sample_rate, channels, frame_rate, delay_frames = 24000, 1, 25.0, 0

    def __init__(self) -> None:
        super().__init__()
        self.shape = nn.Parameter(torch.linspace(0.5, 0.0, 960))

    @classmethod
    def load(cls, name: str, device: Any = "cpu") -> Vocoder:
        made = cls()
        made.load_state_dict(dict(read(name, kind=KIND.name).tensors))
        return made.eval().to(device)

    def decode(self, codes: Tensor) -> Tensor:
        return (codes[:, :1, :, None] / 1024 * self.shape).flatten(2)

    def open_stream(self, batch_size: int = 1) -> Vocoder:
        return self

    def push(self, codes: Tensor) -> Tensor:
        return self.decode(codes)

    def finish(self, codes: Tensor | None = None) -> Tensor:
        return self.decode(torch.zeros(1, 4, 0) if codes is None else codes)


KIND = NetworkKind(name="toy-vocoder", title="vocoder toy")


def recognises(config: Mapping[str, Any]) -> bool:
    return "toy_vocoder" in config


FAMILY = ModelFamily(
    name="toy-vocoder",
    title="Toy, vocoder",
    kind=KIND,
    decodes=True,
    load=Vocoder.load,
    recognises=recognises,
)


def write(folder: Path) -> None:
    """A model of the family, as a folder in our format."""
    write_model(
        folder, kind=KIND.name, family=FAMILY.name, config={"toy_vocoder": {}}, tensors=Vocoder().state_dict()
    )
