"""What the command line, the engine, the server and the workflows know of a model: a `GeneratorModel` prepares a
request, gives a coroutine that makes its frames, and has a decoder that turns frames into audio.

    request -> prepare -> PreparedRequest -> generation -> frames -> decoder -> processors -> audio

A loaded model is read-only; what a request changes lives in its Session.
"""

from __future__ import annotations

import math
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audiocraft.audio.ending import Ending
from audiocraft.audio.processing import AudioProcessor, RowProcessors
from audiocraft.checkpoints.facts import check_takes
from audiocraft.errors import InvalidInput
from audiocraft.generation.computations import GenerationCoroutine, run_alone
from audiocraft.generation.events import AudioChunk
from audiocraft.generation.keeping import kept_samples
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import FlowSettings, GenerationRequest, GenerationResult
from audiocraft.generation.session import Session
from audiocraft.models.codecs.audio_stream import AudioStream, ChunkPacer
from audiocraft.models.codecs.streaming_decode import AudioDecoder, fitting_codes
from audiocraft.models.loaders import load_decoder
from audiocraft.music.closing import closing, last_bar
from audiocraft.types import Scene, ScorePlan
from audiocraft.utils.devices import HostQueue
from audiocraft.utils.memory import OutOfMemoryEstimate, available_bytes, gigabytes

COPIES_OF_AUDIO = 3
"""As it comes from the decoder, joined, and its owner's."""
BYTES_OF_SAMPLE = 4
_LAST_S, _BEAT_S = 2.0, 0.5  # of pieces that no plan was made for


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRequest:
    """This record holds a request that has been checked and can start.

    Args:
        task: what the model's own generation needs to know.
        num_samples: length of each row's audio [samples per channel].
        decoder: turns frames into audio.
        processors: every row's audio goes through all of them, in order.
        decode_whole: whether `run` may decode all frames at once; long pieces are decoded in parts, in less memory.
    """

    task: Any
    seeds: tuple[int, ...]
    plans: tuple[ScorePlan | None, ...]
    scenes: tuple[Scene | None, ...]
    num_samples: int
    decoder: AudioDecoder
    processors: tuple[AudioProcessor | RowProcessors, ...] = ()
    decode_whole: bool = True


@dataclass(frozen=True, slots=True)
class Estimate:
    """This record says what a request takes while it runs, known before anything is allocated.

    Args:
        rows: of the batches of the network.
        bytes: of states and audio.
    """

    rows: int
    bytes: int


class GeneratorModel(ABC):
    """This model makes audio of what a request says."""

    name: str
    """For messages and records."""
    device: torch.device
    max_duration: float
    """Seconds that the model makes at once; longer pieces are made in parts, or refused by `prepare`."""
    takes_adapters: ClassVar[bool] = False
    """Whether requests may bring low-rank adapters."""
    takes_negative: ClassVar[bool] = False
    """Whether guidance can lead away from a text of its own."""
    makes_codes: ClassVar[bool] = True
    """Whether its frames are codes, which results hold."""

    def __repr__(self) -> str:
        numbers = sum(parameter.numel() for module in self.modules() for parameter in module.parameters())
        return (
            f"{type(self).__name__}({self.name!r}, {self.precision} on {self.device}, {numbers:,} parameters, "
            f"{self.sample_rate} Hz, {self.audio_channels} channel{'s' * (self.audio_channels > 1)})"
        )

    # ------------------------------------------------------------------ what a family brings

    @staticmethod
    @abstractmethod
    def get_pretrained(
        name: str, device: str | torch.device | None = None, *, precision: str | None = "auto"
    ) -> GeneratorModel:
        """Load a trained model by name, folder or file. A name that leads to none raises CheckpointError."""

    @property
    @abstractmethod
    def decoder(self) -> AudioDecoder:
        """Return what turns frames into audio, unless a request brings another one."""

    @abstractmethod
    def modules(self) -> tuple[nn.Module, ...]:
        """Return the networks that hold its weights."""

    @abstractmethod
    def prepare(self, request: GenerationRequest, *, decoder: AudioDecoder | None = None) -> PreparedRequest:
        """Check a request: everything about it that can be wrong is found here, before the first step.

        Args:
            decoder: turns frames into audio in place of the model's own.
        """

    @abstractmethod
    def generation(self, prepared: PreparedRequest, session: Session) -> GenerationCoroutine:
        """Return the coroutine that makes the frames of `prepared`, [B, ..., n] at a time, in order.

        Args:
            session: everything that it changes; opened with the seeds of `prepared`.
        """

    @abstractmethod
    def estimate(self, request: GenerationRequest) -> Estimate:
        """Return what `request` takes while it runs."""

    @property
    def takes_plans(self) -> bool:
        """Return whether the model is told tempo, bars and chords."""
        return False

    @property
    def fills_in(self) -> bool:
        """Return whether the model fills in what is masked, as `request.masked` says."""
        return False

    @property
    def follows_flow(self) -> bool:
        """Return whether the model is a flow, which is followed as `request.flow` says."""
        return False

    @property
    def makes_music(self) -> bool:
        """Return whether all that it makes is music, in which one tone does not drown all others for long."""
        return False

    @property
    def takes(self) -> frozenset[str]:
        """Return what the model can be given beside text: continuation, melody, style, plan and so on."""
        return frozenset({"plan"}) if self.takes_plans else frozenset()

    @property
    def precision(self) -> str:
        """Return what its matrices are kept in, as `get_pretrained` takes it."""
        return "fp32"

    # ------------------------------------------------------------------ what every family gets

    def ready(
        self,
        request: GenerationRequest,
        task: Any,
        *,
        seeds: tuple[int, ...],
        decoder: AudioDecoder | None = None,
        plans: tuple[ScorePlan | None, ...] | None = None,
        scenes: tuple[Scene | None, ...] | None = None,
        processors: tuple[AudioProcessor, ...] = (),
        decode_whole: bool = True,
    ) -> PreparedRequest:
        """Return `request` as `prepare` returns it, once its `task` is known.

        Args:
            processors: of this model; those of the request follow them.
        """
        if request.score.given and not self.takes_plans:
            first = request.score.given[0]
            raise InvalidInput(
                f"model {self.name!r} is told nothing but words: say the {first} in the prompt", field=first
            )
        if request.negative and not self.takes_negative:
            raise InvalidInput(f"model {self.name!r} takes no negative prompt", field="negative")
        if request.loop:
            raise InvalidInput(
                f"model {self.name!r} is told no bars, so it makes no loops: make a longer piece and cut a loop "
                "out of it (audiocraft edit loop)",
                field="loop",
            )
        for name in request.controls.given:
            check_takes(self.name, self.takes, name)
        if request.adapters and not self.takes_adapters:
            raise InvalidInput(f"model {self.name!r} takes no adapters", field="adapters")
        if request.keep:
            check_takes(self.name, self.takes, "keep")
        self._check_manner(request)
        decoder = decoder or self.decoder
        fit = getattr(decoder, "in_place_of", None)  # what depends on whose codes it is given
        decoder = decoder if fit is None else fit(self.decoder)
        if not math.isclose(decoder.frame_rate, self.frame_rate, rel_tol=1e-6):
            raise InvalidInput(
                f"model {self.name!r} makes {self.frame_rate:g} frames per second, and the decoder takes "
                f"{decoder.frame_rate:g} frames per second; it was made for another codec",
                field="decoder",
            )
        return PreparedRequest(
            task=task,
            seeds=seeds,
            plans=plans or (None,) * len(seeds),
            scenes=scenes or (None,) * len(seeds),
            num_samples=samples_of(request, decoder.sample_rate),
            decoder=decoder,
            processors=(*processors, *self._endings(request, plans), *_kept(request), *request.processors),
            decode_whole=decode_whole,
        )

    def _endings(
        self, request: GenerationRequest, plans: tuple[ScorePlan | None, ...] | None
    ) -> tuple[RowProcessors, ...]:
        """Return what ends each row as it was asked for."""
        if request.ending is None:
            return ()
        if request.ending == "cadence" and not self.takes_plans:
            raise InvalidInput(
                f"model {self.name!r} is told no chords, so it plays no cadence: ask it for the ending fade or ring",
                field="ending",
            )
        known = plans or (None,) * len(request.prompts)
        return (RowProcessors(tuple(_ending(request, plan) for plan in known)),)

    def _check_manner(self, request: GenerationRequest) -> None:
        """Refuse settings of another family."""
        if request.masked.given and not self.fills_in:
            raise InvalidInput(
                f"model {self.name!r} masks nothing, so it has no {', '.join(request.masked.given)}; MAGNeT does",
                field=f"masked.{request.masked.given[0]}",
            )
        if request.flow != FlowSettings() and not self.follows_flow:
            raise InvalidInput(
                f"model {self.name!r} is no flow, so it has no flow settings; JASCO has", field="flow"
            )

    @property
    def frame_rate(self) -> float:
        return self.decoder.frame_rate

    @property
    def sample_rate(self) -> int:
        return self.decoder.sample_rate

    @property
    def audio_channels(self) -> int:
        return self.decoder.channels

    def run(
        self,
        request: GenerationRequest,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        decoder: AudioDecoder | None = None,
    ) -> GenerationResult:
        """Make the whole piece. Equal requests with seeds give equal results, whoever else uses the model. What would
        not fit into memory is refused; `stream` makes pieces of any length."""
        started = time.perf_counter()
        check_memory(self, request)
        prepared = self.prepare(request, decoder=decoder or self._named_decoder(request))
        session = Session.open(prepared.seeds, progress=progress, cancel=cancel)
        frames = torch.cat(list(run_alone(self.generation(prepared, session))), dim=-1).clone()
        made_frames = time.perf_counter()
        audio = self._audio_of(prepared, frames)
        ended = time.perf_counter()
        return GenerationResult(
            audio=audio,
            codes=frames if self.makes_codes else None,
            sample_rate=prepared.decoder.sample_rate,
            seeds=prepared.seeds,
            plans=prepared.plans,
            scenes=prepared.scenes,
            timings={"codes": made_frames - started, "audio": ended - made_frames, "total": ended - started},
        )

    def stream(
        self,
        request: GenerationRequest,
        *,
        chunk_seconds: float = 0.4,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        decoder: AudioDecoder | None = None,
    ) -> Iterator[AudioChunk]:
        """Return the audio of `run` in chunks while it is made, in constant memory; those of a row follow each other
        without gap. The first comes as early as the decoder allows, later ones last about `chunk_seconds`.
        Closing the iterator stops the generation."""
        prepared = self.prepare(request, decoder=decoder or self._named_decoder(request))
        session = Session.open(prepared.seeds, progress=progress, cancel=cancel)
        return self.stream_prepared(prepared, session, chunk_seconds)

    def stream_prepared(
        self, prepared: PreparedRequest, session: Session, chunk_seconds: float = 0.4
    ) -> Iterator[AudioChunk]:
        """Return the `stream` of a request that has been checked, whose seeds and plans are known."""
        audio = open_audio(prepared)
        most = max(1, round(chunk_seconds * prepared.decoder.frame_rate))
        pacer, arriving, place = ChunkPacer(most, audio.delay_frames), HostQueue(), 0
        for frames in run_alone(self.generation(prepared, session)):
            for part in frames.split(most, dim=-1):  # audio that is continued comes as one
                ready = pacer.add(part)
                if ready is not None:
                    arriving.put(audio.push(ready).float())
                for made in arriving.take():
                    yield from chunks_of(made, place)
                    place += made.shape[-1]
        arriving.put(audio.finish(pacer.rest()).float())
        for made in arriving.take(wait=True):
            yield from chunks_of(made, place)
            place += made.shape[-1]

    def _named_decoder(self, request: GenerationRequest) -> AudioDecoder | None:
        """Return the decoder that `request` names, loaded; an engine keeps those that are used often."""
        return None if request.decoder is None else load_decoder(request.decoder, device=self.device)

    def _audio_of(self, prepared: PreparedRequest, frames: Tensor) -> Tensor:
        """Return the audio [B, C, N] of all frames [B, ..., T] of `prepared`."""
        if prepared.decode_whole and not prepared.processors:
            with fitting_codes():
                return decode_rows(prepared.decoder, frames)[..., : prepared.num_samples].clone()
        audio = open_audio(prepared)
        most = frames.shape[-1] if prepared.decode_whole else round(self.max_duration * self.frame_rate)
        parts = frames.split(max(1, most), dim=-1)
        return torch.cat([*(audio.push(part) for part in parts), audio.finish()], dim=-1).clone()


def ended(plan: ScorePlan | None, request: GenerationRequest) -> ScorePlan | None:
    """Return `plan` with its last bar on the tonic, where the request ends so."""
    return plan if plan is None or request.ending is None else closing(plan, duration=request.duration)


def _kept(request: GenerationRequest) -> tuple[RowProcessors, ...]:
    """Return what puts the kept regions of each row's recording where they were, over all that changes the audio."""
    rows = (kept_samples(request, row, level=True) for row in range(len(request.prompts)))
    kept = tuple(each for each in rows if each is not None)
    return (RowProcessors(kept),) if kept else ()


def _ending(request: GenerationRequest, plan: ScorePlan | None) -> Ending:
    """Return how one row ends; without a plan, its last two seconds are its last bar."""
    assert request.ending is not None
    duration = request.duration
    if plan is None:
        last, beat = max(0.0, duration - min(_LAST_S, 0.5 * duration)), _BEAT_S
    else:
        last, beat = last_bar(plan, duration), 60 / plan.tempo
    return Ending(kind=request.ending, last=last, beat=beat, duration=duration)


def draw_seeds(request: GenerationRequest) -> tuple[int, ...]:
    """Return the seed of each row, as the request gives it or drawn afresh."""
    return request.seeds or tuple(secrets.randbits(31) for _ in request.prompts)


def samples_of(request: GenerationRequest, sample_rate: int) -> int:
    """Count the samples per channel that `request` lasts; a request of none is refused."""
    samples = round(request.duration * sample_rate)
    if samples == 0:
        raise InvalidInput(
            f"duration {request.duration:g} s is less than a sample at {sample_rate} Hz", field="duration"
        )
    return samples


def check_holds_a_frame(request: GenerationRequest, name: str, frame_rate: float) -> None:
    """Refuse a piece of less than one frame: what a model makes in it is silent."""
    if request.duration * frame_rate < 1 - 1e-6:
        raise InvalidInput(
            f"duration {request.duration:g} s is less than a frame of model {name!r}; "
            f"it makes {1 / frame_rate:.3g} s or more",
            field="duration",
        )


def open_audio(prepared: PreparedRequest) -> AudioStream:
    """Take the frames of `prepared` and give its audio, piece by piece."""
    return AudioStream(
        prepared.decoder,
        len(prepared.seeds),
        num_samples=prepared.num_samples,
        processors=prepared.processors,
    )


@torch.inference_mode()
def decode_rows(decoder: AudioDecoder, frames: Tensor) -> Tensor:
    """Decode frames [B, ..., T] -> audio [B, C, N], row by row so that a row's samples do not depend on its
    neighbours."""
    return torch.cat([decoder.decode(row) for row in frames.split(1)])


def audio_bytes(model: GeneratorModel, request: GenerationRequest) -> int:
    """Return what the audio of `request` takes as a whole."""
    samples = round(request.duration * model.sample_rate) * model.audio_channels * len(request.prompts)
    return COPIES_OF_AUDIO * BYTES_OF_SAMPLE * samples


def check_memory(model: GeneratorModel, request: GenerationRequest) -> None:
    """Refuse audio that memory cannot hold whole."""
    need, available = audio_bytes(model, request), available_bytes(model.device)
    if available is not None and need > available:
        raise OutOfMemoryEstimate(
            f"{request.duration:g} s of audio as a whole need about {gigabytes(need)} and {gigabytes(available)} are "
            f"free on {model.device}; take it in pieces: stream(), or audiocraft generate --stream",
            need=need,
            available=available,
        )


def chunks_of(audio: Tensor, start: int) -> Iterator[AudioChunk]:
    """Split audio [B, C, n] on the CPU that starts at sample `start` -> a chunk for each row."""
    if audio.shape[-1]:
        for row, samples in enumerate(audio):
            yield AudioChunk(row, start, samples.clone())
