"""A toy of a flow: an ODE over latents, with no codes at all, and a decoder of its own (as JASCO does)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from audiocraft.checkpoints.families import ModelFamily, NetworkKind
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.write import write_model
from audiocraft.generation.computations import GenerationCoroutine, SharedComputation
from audiocraft.generation.request import GenerationRequest
from audiocraft.generation.session import Session
from audiocraft.generation.windows import frames_of
from audiocraft.models.codecs.streaming_decode import AudioDecoder
from audiocraft.models.generator import Estimate, GeneratorModel, PreparedRequest, audio_bytes, draw_seeds

RATE, FRAME_RATE, WIDTH = 8000, 20.0, 4
HOP = round(RATE / FRAME_RATE)
STEPS = 8


class Field(nn.Module):
    """The velocity that leads from noise to tones; rows and frames do not know each other."""

    def __init__(self) -> None:
        super().__init__()
        self.pull = nn.Parameter(torch.ones(WIDTH, 1))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """x [B, D, T], words [B] -> velocity [B, D, T]."""
        return self.pull * (torch.sin(words.view(-1, 1, 1) * torch.arange(1, WIDTH + 1).view(-1, 1)) - x)


@dataclass(frozen=True, slots=True)
class Velocity(SharedComputation):
    """The velocity at x [B, D, T]."""

    field: Field
    x: Tensor
    words: Tensor

    def run(self, *, shared: bool = False) -> Tensor:
        velocity: Tensor = self.field(self.x, self.words)
        return velocity

    @property
    def group_key(self) -> Hashable:
        return id(self.field), self.x.shape[-1]

    @classmethod
    def group(cls, computations: Sequence[Self]) -> Together:
        return Together()


class Together:
    def run(self, computations: Sequence[Velocity]) -> Sequence[Tensor]:
        x, words = (torch.cat([getattr(each, name) for each in computations]) for name in ("x", "words"))
        passes.append([len(each.x) for each in computations])
        return list(computations[0].field(x, words).split(passes[-1]))


passes: list[list[int]] = []
"""The rows of each request in every shared pass, for the test."""


class Tones:
    """A decoder of latents [B, D, T]: each frame is a sum of D tones. It is its own stream."""

    sample_rate, channels, frame_rate, delay_frames = RATE, 1, FRAME_RATE, 0

    def decode(self, codes: Tensor) -> Tensor:
        time = torch.arange(HOP) / RATE
        tones = torch.sin(2 * torch.pi * 220 * torch.arange(1, WIDTH + 1).view(-1, 1) * time)
        frames = (codes.unsqueeze(-1) * tones.view(1, WIDTH, 1, HOP)).sum(1)
        return 0.1 * frames.flatten(1).unsqueeze(1)

    def open_stream(self, batch_size: int = 1) -> Tones:
        return self

    def push(self, codes: Tensor) -> Tensor:
        return self.decode(codes)

    def finish(self, codes: Tensor | None = None) -> Tensor:
        return self.decode(torch.zeros(1, WIDTH, 0) if codes is None else codes)


class Flow(GeneratorModel):
    makes_codes: ClassVar[bool] = False
    decoder = Tones()

    def __init__(self, name: str, field: Field) -> None:
        self.name, self.field = name, field
        self.device, self.max_duration = torch.device("cpu"), 10.0

    @staticmethod
    def get_pretrained(name: str, device: Any = None, *, precision: str | None = "auto") -> Flow:
        field = Field()
        field.load_state_dict(dict(read(name, kind=KIND.name).tensors))
        return Flow(str(name), field.eval())

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.field,)

    def estimate(self, request: GenerationRequest) -> Estimate:
        return Estimate(len(request.prompts), audio_bytes(self, request))

    def prepare(self, request: GenerationRequest, *, decoder: AudioDecoder | None = None) -> PreparedRequest:
        words = torch.tensor([float(len(prompt or "")) for prompt in request.prompts])
        task = (words, frames_of(request.duration, self.frame_rate))
        return self.ready(request, task, seeds=draw_seeds(request), decoder=decoder)

    def generation(self, prepared: PreparedRequest, session: Session) -> GenerationCoroutine:
        words, frames = prepared.task
        session.total = STEPS
        x = torch.stack([torch.randn(WIDTH, frames, generator=own) for own in session.generators])
        for _ in session.steps(0, STEPS):
            x = x + (yield Velocity(self.field, x, words)) / STEPS
        yield x


KIND = NetworkKind(name="toy-flow", title="flow toy")


def recognises(config: Mapping[str, Any]) -> bool:
    return "toy_flow" in config


FAMILY = ModelFamily(
    name="toy-flow", title="Toy, flow", kind=KIND, facade=Flow, makes="sound", recognises=recognises
)


def write(folder: Path) -> None:
    """A model of the family, as a folder in our format."""
    write_model(
        folder, kind=KIND.name, family=FAMILY.name, config={"toy_flow": {}}, tensors=Field().state_dict()
    )
