"""Models of the studio's tests: they make at once what can be recognised, and count what they were asked for."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.generation.progress import CancelToken, Progress
from audiocraft.generation.request import GenerationRequest, GenerationResult

RATE = 24000


def piece(prompt: str, seed: int, seconds: float) -> Tensor:
    """Noise [1, N] that swells and falls; prompt and seed decide it."""
    draw = torch.Generator().manual_seed(zlib.crc32(f"{prompt} {seed}".encode()))
    count = round(seconds * RATE)
    swell = 0.6 + 0.4 * (torch.arange(count) / RATE * 2 * torch.pi).sin()
    return 0.05 * torch.randn(1, count, generator=draw) * swell


def knock(prompt: str, seed: int, seconds: float) -> Tensor:
    """Silence, and a knock [1, N] after three tenths of a second."""
    audio = torch.zeros(1, round(seconds * RATE))
    first = round(0.3 * RATE)
    long = audio.shape[-1] - first
    audio[:, first:] = piece(prompt, seed, seconds)[:, :long] * torch.exp(-torch.arange(long) / (0.2 * RATE))
    return audio * 10


class Maker:
    """A model that makes `piece`, or something else.

    Args:
        sound: what it makes of (prompt, seed, seconds).
        stop_after: cancel a run when so many requests are done.
    """

    name = "maker"
    precision = "fp32"
    makes_music = False
    device = torch.device("cpu")

    def __init__(self, sound: Any = piece, *, stop_after: int | None = None) -> None:
        self.sound, self.stop_after = sound, stop_after
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.network.weight)
        self.prompts: list[str] = []
        self.runs = 0

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.network,)

    def run(
        self, request: GenerationRequest, *, progress: Any = None, cancel: CancelToken | None = None
    ) -> GenerationResult:
        if self.stop_after == self.runs and cancel is not None:
            cancel.cancel()
        if cancel is not None:
            cancel.check()
        self.runs += 1
        seeds = request.seeds or ()
        self.prompts += [str(prompt) for prompt in request.prompts]
        if progress is not None:
            progress(Progress(done=1, total=1, elapsed=0.0))
        rows = [
            self.sound(prompt, seed, request.duration)
            for prompt, seed in zip(request.prompts, seeds, strict=True)
        ]
        plans = request.plans or (None,) * len(seeds)
        return GenerationResult(
            audio=torch.stack(rows), codes=None, sample_rate=RATE, seeds=seeds, plans=plans, timings={}
        )
