"""One request while it runs: a place in the batch, then frames that become audio piece by piece."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from audiocraft.engine.ticket import Ticket
from audiocraft.errors import Cancelled as CancelledError
from audiocraft.generation.batching import ActiveGeneration, Batch
from audiocraft.generation.events import AudioChunk, Failed, Finished, Started, Stopped
from audiocraft.generation.request import GenerationResult
from audiocraft.generation.session import Session
from audiocraft.models.codecs.audio_stream import AudioStream, ChunkPacer
from audiocraft.models.codecs.streaming_decode import AudioDecoder
from audiocraft.models.generator import Estimate, GeneratorModel, PreparedRequest, open_audio
from audiocraft.models.magnet import MAGNeT
from audiocraft.utils.devices import HostQueue

STREAMED_SECONDS = 0.4
WHOLE_SECONDS = 2.0
"""Audio is decoded in pieces of about this length, so that the steps of others go on in between."""


class ActiveRequest:
    """An active request is a ticket that was admitted. It belongs to the thread of its scheduler.

    Args:
        estimate: its rows of the batch, which it holds until its frames are complete, and its memory.
        find_decoder: loads the decoder that a request names.
        find_model: loads the model that a request names beside the one that makes it.
    """

    def __init__(
        self,
        ticket: Ticket,
        model: GeneratorModel,
        estimate: Estimate,
        find_decoder: Callable[[str], AudioDecoder],
        find_model: Callable[[str], GeneratorModel],
    ) -> None:
        self.ticket = ticket
        self.model = model
        self.estimate = estimate
        self.rows = estimate.rows
        self._find_decoder = find_decoder
        self._find_model = find_model
        self.admitted = time.perf_counter()
        self._prepared: PreparedRequest | None = None
        self._generation: ActiveGeneration | None = None
        self._session: Session | None = None
        self._frames: list[Tensor] = []
        self._stream: AudioStream | None = None
        self._pacer: ChunkPacer | None = None
        self._pieces: deque[Tensor] = deque()
        self._arriving = HostQueue()
        self._audio: list[Tensor] = []
        self._samples = 0
        self._complete = 0.0
        self._decoding = 0.0

    def prepare(self) -> PreparedRequest:
        """Check the request and encode what it refers to; for another thread than the scheduler's."""
        request = self.ticket.request
        decoder = None if request.decoder is None else self._find_decoder(request.decoder)
        if request.masked.rescorer is not None and isinstance(self.model, MAGNeT):
            rescorer = self._find_model(request.masked.rescorer)
            return self.model.prepare(request, decoder=decoder, rescorer=rescorer)
        return self.model.prepare(request, decoder=decoder)

    def start(self, prepared: PreparedRequest, batch: Batch) -> None:
        """Join the batch."""
        self._prepared = prepared
        self.ticket.deliver(Started(prepared.seeds, prepared.plans))
        session = Session.open(prepared.seeds, progress=self.ticket.deliver, cancel=self.ticket.token)
        self._session = session
        generation = self.model.generation(prepared, session)
        self._generation = ActiveGeneration(generation, self._take, self._end)
        self._stream = open_audio(prepared)
        first = 1 if self.ticket.stream else self._most
        self._pacer = ChunkPacer(self._most, self._stream.delay_frames, first=first)
        batch.add(self._generation)

    @property
    def steps_left(self) -> float:
        """Return steps of the network until its frames are complete; infinite while that is not known."""
        session = self._session
        return math.inf if session is None or not session.total else max(0, session.total - session.done)

    def stop(self, batch: Batch, error: Exception | None = None) -> None:
        """Leave the batch at once: cancelled, or failed with `error`."""
        if self._generation is not None:
            batch.remove(self._generation)
        self._finish_with(error or CancelledError("the generation was cancelled"))

    @property
    def due(self) -> bool:
        """Return whether there are frames to be decoded, or audio to be handed on."""
        return bool(self._pieces or self._complete or self._arriving.ready) and not self.ticket.ended

    def decode(self) -> None:
        """Turn one piece of frames into audio, and hand on what has come from the GPU; the last one ends the
        request."""
        assert self._stream is not None and self._pacer is not None
        began = time.perf_counter()
        final = bool(self._complete) and not self._pieces
        if final:
            self._arriving.put(self._stream.finish(self._pacer.rest()).float())
        elif self._pieces:
            self._arriving.put(self._stream.push(self._pieces.popleft()).float())
        made = list(self._arriving.take(wait=final))  # others' steps go on while more is on its way
        self._decoding += time.perf_counter() - began
        for audio in made:
            if audio.shape[-1]:
                self._hand_on(audio)
        if final:
            self.ticket.deliver(Finished(self._result()))

    @property
    def _most(self) -> int:
        """Return how many frames are in a piece."""
        assert self._prepared is not None
        seconds = STREAMED_SECONDS if self.ticket.stream else WHOLE_SECONDS
        return max(1, round(seconds * self._prepared.decoder.frame_rate))

    def _take(self, frames: Tensor) -> None:
        assert self._pacer is not None
        self._frames.append(frames)
        for part in frames.split(self._most, dim=-1):  # audio that is continued comes as one
            ready = self._pacer.add(part)
            if ready is not None:
                self._pieces.append(ready)

    def _end(self, error: Exception | None) -> None:
        self.rows = 0
        self._complete = time.perf_counter()
        if error is not None:
            self._finish_with(error)

    def _finish_with(self, error: Exception) -> None:
        self.rows = 0
        self.ticket.deliver(Stopped() if isinstance(error, CancelledError) else Failed(error))

    def _hand_on(self, audio: Tensor) -> None:
        self._audio.append(audio)
        if self.ticket.stream:
            for row, samples in enumerate(audio):
                self.ticket.deliver(AudioChunk(row, self._samples, samples.clone()))
        self._samples += audio.shape[-1]

    @torch.inference_mode(False)
    def _result(self) -> GenerationResult:
        assert self._prepared is not None
        audio, frames = torch.cat(self._audio, dim=-1), torch.cat(self._frames, dim=-1)
        self._audio.clear()
        self._frames.clear()
        ended = time.perf_counter()
        return GenerationResult(
            audio=audio,
            codes=frames if self.model.makes_codes else None,
            sample_rate=self._prepared.decoder.sample_rate,
            seeds=self._prepared.seeds,
            plans=self._prepared.plans,
            scenes=self._prepared.scenes,
            timings={
                "waited": self.admitted - self.ticket.submitted,
                "codes": self._complete - self.admitted,
                "audio": self._decoding,
                "total": ended - self.admitted,
            },
        )
