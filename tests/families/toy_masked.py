"""A toy of a masked model: all codes at once, refined in a few passes that several requests share (as MAGNeT does)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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
from audiocraft.models.encodec import CompressionModel
from audiocraft.models.generator import Estimate, GeneratorModel, PreparedRequest, audio_bytes, draw_seeds
from audiocraft.models.loaders import load_compression_model

STEPS, MASK = 6, -1


class Network(nn.Module):
    """Scores every code by its own embedding alone, so that a row never depends on its neighbours."""

    def __init__(self, codebooks: int, card: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.linspace(0, 1, codebooks * card).view(codebooks, 1, card))

    def forward(self, codes: Tensor, words: Tensor) -> Tensor:
        """codes [B, K, T], words [B] -> logits [B, K, T, V]."""
        place = torch.arange(codes.shape[-1]).view(1, 1, -1, 1)
        return torch.sin(self.scores * (words.view(-1, 1, 1, 1) + place) + codes.clamp_min(0).unsqueeze(-1))


@dataclass(frozen=True, slots=True)
class Refine(SharedComputation):
    """One pass over codes [B, K, T] -> logits [B, K, T, V]."""

    network: Network
    codes: Tensor
    words: Tensor

    def run(self, *, shared: bool = False) -> Tensor:
        logits: Tensor = self.network(self.codes, self.words)
        return logits

    @property
    def group_key(self) -> Hashable:
        return id(self.network), self.codes.shape[-1]

    @classmethod
    def group(cls, computations: Sequence[Self]) -> Together:
        return Together()


class Together:
    def run(self, computations: Sequence[Refine]) -> Sequence[Tensor]:
        codes = torch.cat([each.codes for each in computations])
        logits = computations[0].network(codes, torch.cat([each.words for each in computations]))
        sizes = [len(each.codes) for each in computations]
        passes.append(sizes)
        return list(logits.split(sizes))


passes: list[list[int]] = []
"""The rows of each request in every shared pass, for the test."""


class Masked(GeneratorModel):
    def __init__(self, name: str, codec: CompressionModel, network: Network) -> None:
        self.name, self.codec, self.network = name, codec, network
        self.device, self.max_duration = torch.device("cpu"), 10.0

    @staticmethod
    def get_pretrained(name: str, device: Any = None, *, precision: str | None = "auto") -> Masked:
        found = read(name, kind=KIND.name)
        codec = load_compression_model(found.config["compression_model_checkpoint"])
        network = Network(codec.num_codebooks, codec.cardinality)
        network.load_state_dict(dict(found.tensors))
        return Masked(str(name), codec, network.eval())

    @property
    def decoder(self) -> CompressionModel:
        return self.codec

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.network, self.codec)

    def estimate(self, request: GenerationRequest) -> Estimate:
        return Estimate(len(request.prompts), audio_bytes(self, request))

    def prepare(self, request: GenerationRequest, *, decoder: AudioDecoder | None = None) -> PreparedRequest:
        words = torch.tensor([float(len(prompt or "")) for prompt in request.prompts])
        task = (words, frames_of(request.duration, self.frame_rate))
        return self.ready(request, task, seeds=draw_seeds(request), decoder=decoder)

    def generation(self, prepared: PreparedRequest, session: Session) -> GenerationCoroutine:
        words, frames = prepared.task
        session.total = STEPS
        codes = torch.full((len(words), self.codec.num_codebooks, frames), MASK)
        draws = torch.stack([torch.rand(codes.shape[1:], generator=own) for own in session.generators])
        for step in session.steps(0, STEPS):
            chosen = (yield Refine(self.network, codes, words)).argmax(-1)
            keep = draws <= (step + 1) / STEPS  # more of them in every pass, and all in the last
            codes = torch.where(keep & (codes == MASK), chosen, codes)
        yield codes


KIND = NetworkKind(name="toy-masked", title="masked toy")


def recognises(config: Mapping[str, Any]) -> bool:
    return "toy_masked" in config


FAMILY = ModelFamily(
    name="toy-masked", title="Toy, masked", kind=KIND, facade=Masked, makes="music", recognises=recognises
)


def write(folder: Path) -> None:
    """A model of the family, as a folder in our format."""
    codec = load_compression_model("nano")
    network = Network(codec.num_codebooks, codec.cardinality)
    config = {"toy_masked": {}, "compression_model_checkpoint": "nano"}
    write_model(folder, kind=KIND.name, family=FAMILY.name, config=config, tensors=network.state_dict())
