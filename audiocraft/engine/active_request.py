"""One request while it runs: a place in the batch, then codes that become audio piece by piece."""

from __future__ import annotations

import time
from collections import deque

import torch
from torch import Tensor

from audiocraft.engine.ticket import Ticket
from audiocraft.errors import Cancelled as CancelledError
from audiocraft.generation import windows
from audiocraft.generation.batching import Batch, Member
from audiocraft.generation.events import AudioChunk, Cancelled, Failed, Finished, Started
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.models.codecs.audio_stream import AudioStream, Pace
from audiocraft.models.genmodel import BaseGenModel
from audiocraft.models.jobs import Job

STREAMED_SECONDS = 0.4
WHOLE_SECONDS = 2.0
"""Audio is decoded in pieces of about this length, so that the steps of others go on in between."""


class Run:
    """A ticket that was admitted. It belongs to the thread of its scheduler.

    Args:
        rows: of the batch, which it holds until its codes are complete.
    """

    def __init__(self, ticket: Ticket, model: BaseGenModel, rows: int) -> None:
        self.ticket = ticket
        self.model = model
        self.rows = rows
        self.admitted = time.perf_counter()
        self._job: Job | None = None
        self._member: Member | None = None
        self._frames: list[Tensor] = []
        self._stream: AudioStream | None = None
        self._pace: Pace | None = None
        self._pieces: deque[Tensor] = deque()
        self._audio: list[Tensor] = []
        self._samples = 0
        self._complete = 0.0
        self._decoding = 0.0

    def prepare(self) -> Job:
        """Check the request and encode what it refers to; for another thread than the scheduler's."""
        return self.model.prepare(self.ticket.request, progress=self.ticket.deliver, cancel=self.ticket.token)

    def start(self, job: Job, batch: Batch) -> None:
        """Join the batch."""
        self._job = job
        self.ticket.deliver(Started(job.seeds, job.plans))
        generation = windows.generation(self.model.lm, job.piece, job.session)
        self._member = Member(generation, self._take, self._end)
        self._stream = self.model.open_audio(job)
        self._pace = Pace(self._most, self._stream.delay_frames)
        batch.add(self._member)

    def stop(self, batch: Batch, error: Exception | None = None) -> None:
        """Leave the batch at once: cancelled, or failed with `error`."""
        if self._member is not None:
            batch.remove(self._member)
        self._finish_with(error or CancelledError("the generation was cancelled"))

    @property
    def due(self) -> bool:
        """Whether there are codes to be decoded."""
        return bool(self._pieces or self._complete) and not self.ticket.ended

    def decode(self) -> None:
        """Turn one piece of codes into audio; the last one ends the request."""
        assert self._stream is not None and self._pace is not None
        began = time.perf_counter()
        final = not self._pieces
        made = self._stream.finish(self._pace.rest()) if final else self._stream.push(self._pieces.popleft())
        audio = made.float().cpu()
        self._decoding += time.perf_counter() - began
        if audio.shape[-1]:
            self._hand_on(audio)
        if final:
            self.ticket.deliver(Finished(self._result()))

    @property
    def _most(self) -> int:
        """Frames in a piece."""
        seconds = STREAMED_SECONDS if self.ticket.stream else WHOLE_SECONDS
        return max(1, round(seconds * self.model.frame_rate))

    def _take(self, frames: Tensor) -> None:
        assert self._pace is not None
        self._frames.append(frames)
        for part in frames.split(self._most, dim=-1):  # audio that is continued comes as one
            codes = self._pace.add(part)
            if codes is not None:
                self._pieces.append(codes)

    def _end(self, error: Exception | None) -> None:
        self.rows = 0
        self._complete = time.perf_counter()
        if error is not None:
            self._finish_with(error)

    def _finish_with(self, error: Exception) -> None:
        self.rows = 0
        self.ticket.deliver(Cancelled() if isinstance(error, CancelledError) else Failed(error))

    def _hand_on(self, audio: Tensor) -> None:
        self._audio.append(audio)
        if self.ticket.stream:
            for row, samples in enumerate(audio):
                self.ticket.deliver(AudioChunk(row, self._samples, samples.clone()))
        self._samples += audio.shape[-1]

    @torch.inference_mode(False)
    def _result(self) -> GenerationResult:
        assert self._job is not None
        audio, codes = torch.cat(self._audio, dim=-1), torch.cat(self._frames, dim=-1)
        self._audio.clear()
        self._frames.clear()
        ended = time.perf_counter()
        return GenerationResult(
            audio=audio,
            codes=codes,
            sample_rate=self.model.sample_rate,
            seeds=self._job.seeds,
            plans=self._job.plans,
            timings={
                "waited": self.admitted - self.ticket.submitted,
                "codes": self._complete - self.admitted,
                "audio": self._decoding,
                "total": ended - self.admitted,
            },
        )


def rows_of(request: GenerationRequest) -> int:
    """Rows of a batch that `request` takes at most: guidance compares two or three versions of each prompt."""
    guidance = request.guidance
    plain = guidance.coef == 1.0 and guidance.coef_beta in (None, 1.0)
    versions = 1 if plain else 2 if guidance.coef_beta is None else 3
    return versions * len(request.prompts)
