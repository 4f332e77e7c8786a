"""An engine without a model: counts steps, sends chunks, obeys cancels."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from audiocraft.audio.files import encode_audio
from audiocraft.codec.known import KnownCodec
from audiocraft.engine.ticket import EventHandler, Ticket
from audiocraft.generation.events import AudioChunk, Failed, Finished, Queued, Started, Stopped
from audiocraft.generation.progress import Progress, ProgressCallback
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.models.generator import GeneratorModel
from audiocraft.server.catalogue import ModelFacts
from audiocraft.server.worker import coding
from audiocraft.server.worker.local_engine import LocalEngine
from audiocraft.server.worker.ports import (
    AcxAudio,
    AcxBounds,
    AcxFacts,
    AcxOptions,
    CodecFacts,
    Codes,
    EncodedFile,
    LoadedModel,
    Samples,
)
from audiocraft.server.worker.studio.shared_model import SharedModel
from audiocraft.types import ScorePlan

RATE = 8000
STEPS = 10
FACTS = {
    "fake": ModelFacts(
        name="fake",
        family="musicgen",
        kind="lm",
        makes="music",
        takes=frozenset({"continuation", "plan", "melody", "style"}),
        license="MIT",
    ),
    "plain": ModelFacts(
        name="plain", family="musicgen", kind="lm", makes="music", takes=frozenset({"continuation"})
    ),
    "sounds": ModelFacts(
        name="sounds", family="audiogen", kind="lm", makes="sound", takes=frozenset({"continuation"})
    ),
    "codec": ModelFacts(
        name="codec", family="encodec", kind="compression", decodes=True, sample_rate=RATE, channels=1
    ),
}


class FakeModel:
    """What workflows ask of a model, beside running it."""

    device = torch.device("cpu")
    max_duration = 30.0
    takes_plans = True
    makes_music = False
    takes = frozenset({"plan", "continuation"})
    precision = "fp32"

    def __init__(self, name: str) -> None:
        self.name = name
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.network.weight)

    @property
    def decoder(self) -> Any:
        return SimpleNamespace(sample_rate=RATE, channels=1, frame_rate=50.0)

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.network,)


class FakeEngine(LocalEngine):
    """Each request gets a thread; a prompt with "fail" fails, one with "hang" waits until it is cancelled, one with
    "crawl" too, when it has made its first tenth. What it makes with the seeds `silent` is silence."""

    watermark = None  # so that what is given out can be compared with what was made

    def __init__(self, step_seconds: float = 0.0) -> None:
        self.step_seconds = step_seconds
        self.requests: list[GenerationRequest] = []
        self.names = ["fake"]
        self.silent = frozenset[int]()

    def submit(
        self,
        request: GenerationRequest,
        *,
        model: str,
        on_event: EventHandler,
        priority: int = 0,
        stream: bool = False,
    ) -> Ticket:
        self.requests.append(request)
        ticket = Ticket(request, on_event, model=model, priority=priority, stream=stream)
        cancelled = threading.Event()
        ticket.wake = cancelled.set
        threading.Thread(target=self._run, args=(request, on_event, cancelled), daemon=True).start()
        return ticket

    def _run(self, request: GenerationRequest, on_event: EventHandler, cancelled: threading.Event) -> None:
        audio = audio_of(request) * float((request.seeds or (0,))[0] not in self.silent)
        size = audio.shape[-1] // STEPS
        on_event(Queued(0))
        plan = self.plan_of(request)
        on_event(Started(request.seeds or (0,), (plan,)))
        for step in range(STEPS):
            words = request.prompts[0] or ""
            hangs = "hang" in words or ("crawl" in words and step > 0)
            if cancelled.wait(60.0 if hangs else self.step_seconds):
                on_event(Stopped())
                return
            if "fail" in (request.prompts[0] or ""):
                on_event(Failed(RuntimeError("secret details")))
                return
            on_event(Progress(done=step + 1, total=STEPS, elapsed=0.1))
            stop = audio.shape[-1] if step == STEPS - 1 else (step + 1) * size
            on_event(AudioChunk(0, step * size, audio[:, step * size : stop]))
        codes = torch.zeros(1, 1, 1, dtype=torch.long)
        seeds = (request.seeds or (0,))[1:]
        others = [
            audio_of(replace(request, prompts=(prompt,), seeds=(seed,), plans=None))
            * float(seed not in self.silent)
            for prompt, seed in zip(request.prompts[1:], seeds, strict=True)
        ]
        on_event(
            Finished(
                GenerationResult(
                    audio=torch.stack([audio, *others]),
                    codes=codes,
                    sample_rate=RATE,
                    seeds=request.seeds or (0,),
                    plans=(plan,) if not others else tuple(request.plans or (None,) * (1 + len(others))),
                    timings={"total": 0.1},
                )
            )
        )

    def plan_of(self, request: GenerationRequest) -> ScorePlan | None:
        """The plan of a piece; this engine makes none."""
        return request.plans[0] if request.plans else None

    def sample_rate(self, model: str) -> int:
        return RATE

    def shared(self, model: str, *, priority: int = 0, watch: ProgressCallback | None = None) -> SharedModel:
        return SharedModel(
            self, model, cast(GeneratorModel, FakeModel(model)), priority=priority, watch=watch
        )

    def codec_facts(self, codec: str) -> CodecFacts:
        return CodecFacts(sample_rate=RATE, channels=1, frame_rate=50.0)

    def load(self, model: str) -> LoadedModel:
        if model not in self.names:
            self.names.append(model)
        return next(entry for entry in self.loaded() if entry.name == model)

    def unload(self, model: str) -> bool:
        if model in self.names:
            self.names.remove(model)
            return True
        return False

    def loaded(self) -> Sequence[LoadedModel]:
        return [
            LoadedModel(name=name, bytes=1, in_use=0, loaded_at=time.time(), sample_rate=RATE, channels=1)
            for name in self.names
        ]

    def encode(self, codec: str, wav: Samples, sample_rate: int, codebooks: int | None) -> EncodedFile:
        codes = np.arange(8).reshape(2, 4)[: codebooks or 2]
        return EncodedFile(codes=codes, scale=None, codec=self.codec_facts(codec), samples=wav.shape[-1])

    def write_acx(self, codec: str, source: Path, target: Path, options: AcxOptions) -> AcxFacts:
        return coding.write_acx(_codec(codec), source, target, options)

    def read_acx(
        self, codec: str, source: Path, target: Path, bounds: AcxBounds, codebooks: int | None = None
    ) -> AcxAudio:
        return coding.read_acx(_codec(codec), source, target, bounds, codebooks, self.watermark)

    def decode(self, codec: str, codes: Codes, scale: Sequence[float] | None, samples: int | None) -> bytes:
        return encode_audio(torch.zeros(1, codes.shape[-1] * 160)[:, :samples], RATE, "wav")

    def close(self, drain: bool = True) -> None:
        pass


@cache
def _codec(name: str) -> KnownCodec:
    """A tiny codec under this name."""
    return replace(KnownCodec.load("debug"), name=name)


def audio_of(request: GenerationRequest) -> Tensor:
    """What the fake makes [C, N]: the same for the same seed."""
    generator = torch.Generator().manual_seed((request.seeds or (0,))[0])
    level = {"loud": 6.0, "silent": 0.0}.get(request.prompts[0] or "", 1.0)
    return level * (torch.rand(1, round(request.duration * RATE), generator=generator) - 0.5)
