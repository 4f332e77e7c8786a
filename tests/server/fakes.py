"""An engine without a model: counts steps, sends chunks, obeys cancels."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from audiocraft.generation.events import AudioChunk, Event, Failed, Finished, Queued, Started, Stopped
from audiocraft.generation.progress import Progress
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.server.catalogue import ModelFacts
from audiocraft.server.worker.engine_port import Encoded, LoadedModel

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
    "codec": ModelFacts(name="codec", family="encodec", kind="compression", sample_rate=RATE, channels=1),
}


class FakeTicket:
    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


class FakeEngine:
    """Each request gets a thread; a prompt with "fail" fails, one with "hang" waits until it is cancelled."""

    def __init__(self, step_seconds: float = 0.0) -> None:
        self.step_seconds = step_seconds
        self.requests: list[GenerationRequest] = []
        self.steps_after_cancel = 0
        self.models = ["fake"]

    def submit(
        self,
        request: GenerationRequest,
        *,
        model: str,
        on_event: Callable[[Event], None],
        priority: int = 0,
        stream: bool = False,
    ) -> FakeTicket:
        self.requests.append(request)
        ticket = FakeTicket()
        threading.Thread(target=self._run, args=(request, on_event, ticket), daemon=True).start()
        return ticket

    def _run(self, request: GenerationRequest, on_event: Callable[[Event], None], ticket: FakeTicket) -> None:
        audio = audio_of(request)
        size = audio.shape[-1] // STEPS
        on_event(Queued(0))
        on_event(Started(request.seeds or (0,), (None,)))
        for step in range(STEPS):
            hangs = "hang" in (request.prompts[0] or "")
            if ticket.cancelled.wait(60.0 if hangs else self.step_seconds):
                on_event(Stopped())
                return
            if "fail" in (request.prompts[0] or ""):
                on_event(Failed(RuntimeError("secret details")))
                return
            on_event(Progress(done=step + 1, total=STEPS, elapsed=0.1))
            stop = audio.shape[-1] if step == STEPS - 1 else (step + 1) * size
            on_event(AudioChunk(0, step * size, audio[:, step * size : stop]))
        codes = torch.zeros(1, 1, 1, dtype=torch.long)
        on_event(
            Finished(
                GenerationResult(
                    audio=audio[None],
                    codes=codes,
                    sample_rate=RATE,
                    seeds=request.seeds or (0,),
                    plans=(None,),
                    timings={"total": 0.1},
                )
            )
        )

    def sample_rate(self, model: str) -> int:
        return RATE

    def frame_rate(self, codec: str) -> float:
        return 50.0

    def load(self, model: str) -> LoadedModel:
        if model not in self.models:
            self.models.append(model)
        return next(entry for entry in self.loaded() if entry.name == model)

    def unload(self, model: str) -> bool:
        if model in self.models:
            self.models.remove(model)
            return True
        return False

    def loaded(self) -> Sequence[LoadedModel]:
        return [
            LoadedModel(name=name, bytes=1, in_use=0, loaded_at=time.time(), sample_rate=RATE, channels=1)
            for name in self.models
        ]

    def encode(self, model: str, wav: Tensor, rate: int, codebooks: int | None) -> Encoded:
        codes = torch.arange(8).reshape(2, 4)[: codebooks or 2]
        return Encoded(
            codes=codes, scale=None, sample_rate=RATE, channels=1, frame_rate=50.0, samples=wav.shape[-1]
        )

    def decode(self, model: str, codes: Tensor, scale: float | None) -> tuple[Tensor, int]:
        return torch.zeros(1, codes.shape[-1] * 160), RATE

    def close(self, drain: bool = True) -> None:
        pass


def audio_of(request: GenerationRequest) -> Tensor:
    """What the fake makes [C, N]: the same for the same seed."""
    generator = torch.Generator().manual_seed((request.seeds or (0,))[0])
    return torch.rand(1, round(request.duration * RATE), generator=generator) - 0.5
