"""What MusicGen and AudioGen share: `run(request)` and `stream(request)`, and upstream's `generate*` on top of them.
A model is read-only once built; a request's own state lives in a Session."""

from __future__ import annotations

import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.level_anchor import LevelAnchor
from audiocraft.errors import InvalidInput
from audiocraft.generation import windows
from audiocraft.generation.events import AudioChunk
from audiocraft.generation.progress import CancelToken, Progress, ProgressCallback
from audiocraft.generation.request import GenerationRequest, GenerationResult, Guidance, Sampling, Window
from audiocraft.generation.session import Session
from audiocraft.models import references
from audiocraft.models.codecs.audio_stream import AudioStream, Pace
from audiocraft.models.encodec import CompressionModel
from audiocraft.models.jobs import Job, check_room, chunks_of
from audiocraft.models.lm import LMModel
from audiocraft.music.planning import make_plan, plans_over_time
from audiocraft.types import ConditioningAttributes, ScorePlan, StyleSettings, SymbolicCondition

PLAN = "plan"
"""The condition that carries a ScorePlan, in models that have it."""

_UNSEEDED = 67280421310721  # what torch's generator starts from in every process

Generated = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What upstream's `set_generation_params` sets and `generate` reads; requests say it themselves."""

    duration: float
    sampling: Sampling = Sampling()
    guidance: Guidance = Guidance()
    window: Window = Window()
    style: StyleSettings | None = None


class BaseGenModel(ABC):
    """A language model over the codes of a codec.

    Args:
        name: for messages and records.
        max_duration: seconds that the language model hears at once; longer pieces are made by windows.
    """

    def __init__(
        self, name: str, compression_model: CompressionModel, lm: LMModel, max_duration: float | None = None
    ) -> None:
        if max_duration is None:
            raise InvalidInput(
                f"model {name!r} needs max_duration, the seconds its language model hears at once; "
                "get_pretrained() knows it",
                field="max_duration",
            )
        self.name = name
        self.compression_model = compression_model.eval()
        self.lm = lm.eval()
        references.prepare_for_generation(lm)
        self.max_duration = max_duration
        self.device = next(iter(lm.parameters())).device
        self._progress_callback: Callable[[int, int], None] | None = None
        self.defaults = Defaults(duration=min(15.0, max_duration))

    @property
    def frame_rate(self) -> float:
        return self.compression_model.frame_rate

    @property
    def sample_rate(self) -> int:
        return self.compression_model.sample_rate

    @property
    def audio_channels(self) -> int:
        return self.compression_model.channels

    @property
    def duration(self) -> float:
        return self.defaults.duration

    @property
    def takes_plans(self) -> bool:
        """Whether the model is told tempo, bars and chords frame by frame."""
        return PLAN in self.lm.condition_provider.conditioners

    # ------------------------------------------------------------------ requests

    def run(
        self,
        request: GenerationRequest,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> GenerationResult:
        """Make the whole piece. Equal requests with seeds give equal results, whoever else uses the model. What would
        not fit into memory is refused; `stream` makes pieces of any length."""
        started = time.perf_counter()
        samples = round(request.duration * self.sample_rate) * self.audio_channels * len(request.prompts)
        check_room(request.duration, samples, self.device)
        job = self.prepare(request, progress=progress, cancel=cancel)
        codes = torch.cat(list(self._frames(job)), dim=-1).clone()
        made_codes = time.perf_counter()
        audio = self.finished_audio(job, codes)
        ended = time.perf_counter()
        return GenerationResult(
            audio=audio,
            codes=codes,
            sample_rate=self.sample_rate,
            seeds=job.seeds,
            plans=job.plans,
            timings={"codes": made_codes - started, "audio": ended - made_codes, "total": ended - started},
        )

    def stream(
        self,
        request: GenerationRequest,
        *,
        chunk_seconds: float = 0.4,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[AudioChunk]:
        """The audio of `run` in chunks while it is made, in constant memory; those of a row follow each other without
        gap. The first comes as early as the codec allows, later ones last about `chunk_seconds`. Who stops listening
        (`close()` of the iterator) stops the generation."""
        return self.stream_job(self.prepare(request, progress=progress, cancel=cancel), chunk_seconds)

    def stream_job(self, job: Job, chunk_seconds: float = 0.4) -> Iterator[AudioChunk]:
        """`stream` of a request that has been checked, whose seeds and plans are known."""
        audio = self.open_audio(job)
        most = max(1, round(chunk_seconds * self.frame_rate))
        pace, place = Pace(most, audio.delay_frames), 0
        for frames in self._frames(job):
            for part in frames.split(most, dim=-1):  # audio that is continued comes as one
                codes = pace.add(part)
                if codes is not None:
                    made = audio.push(codes)
                    yield from chunks_of(made, place)
                    place += made.shape[-1]
        yield from chunks_of(audio.finish(pace.rest()), place)

    def open_audio(self, job: Job) -> AudioStream:
        """Takes the codes of `job` and gives its audio, piece by piece."""
        return AudioStream(
            self.compression_model, len(job.seeds), num_samples=job.num_samples, anchor=job.anchor
        )

    def finished_audio(self, job: Job, codes: Tensor) -> Tensor:
        """All codes [B, K, T] of `job` -> its audio [B, C, N]."""
        if len(job.piece.spans) == 1:
            return self.audio_of(codes)[..., : job.num_samples].clone()
        audio = self.open_audio(job)  # a long piece is not decoded at once, which would take much memory
        parts = codes.split(max(1, round(self.max_duration * self.frame_rate)), dim=-1)
        return torch.cat([*(audio.push(part) for part in parts), audio.finish()], dim=-1).clone()

    def guidance_of(self, request: GenerationRequest) -> Guidance:
        """What a request asks for, or what suits this model."""
        asked = request.guidance
        return asked if asked.coef is not None else replace(asked, coef=self.lm.cfg_coef)

    def prepare(
        self,
        request: GenerationRequest,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Job:
        """Everything about a request that can be wrong is found here, before the first step."""
        references.check(self.name, self.lm, request)
        num_samples = round(request.duration * self.sample_rate)
        if num_samples == 0:
            raise InvalidInput(
                f"duration {request.duration:g} s is less than a sample at {self.sample_rate} Hz",
                field="duration",
            )
        seeds = request.seeds or tuple(secrets.randbits(31) for _ in request.prompts)
        prompt = self._prompt_codes(request)
        total = windows.frames_of(request.duration, self.frame_rate)
        if prompt.shape[-1] >= total:
            raise InvalidInput(
                f"the prompt audio lasts {prompt.shape[-1] / self.frame_rate:.2f} s; "
                f"duration {request.duration:g} s must be longer, because it includes the prompt",
                field="duration",
            )
        stride = (
            windows.stride_of(request.window.stride, self.max_duration) if self._is_long(request) else 0.0
        )
        context = min(total, int(self.max_duration * self.frame_rate + 1e-6)) if stride else total
        plans = self._plans(request, seeds)
        first, *later = self._attributes(request, plans, seeds)
        changes = [round(second * self.frame_rate) for second, _ in request.schedule[1:]]
        piece = windows.Piece(
            attributes=first,
            later=tuple(zip(changes, later, strict=True)),
            spans=windows.plan_spans(
                total,
                context=context,
                # A piece of one window has no stride; where its schedule divides it, everything before is heard.
                stride=max(1, int(stride * self.frame_rate + 1e-6)),
                prompt=prompt.shape[-1],
                changes=changes,
            ),
            prompt=prompt,
            frame_rate=self.frame_rate,
            sampling=request.sampling,
            guidance=self.guidance_of(request),
        )
        return Job(
            piece=piece,
            session=Session.open(seeds, progress=progress, cancel=cancel),
            seeds=seeds,
            plans=plans,
            num_samples=num_samples,
            anchor=LevelAnchor(reference=self.max_duration)
            if stride and request.window.level_anchor
            else None,
        )

    def _is_long(self, request: GenerationRequest) -> bool:
        return request.duration > self.max_duration + 1e-9

    def _plans(self, request: GenerationRequest, seeds: Sequence[int]) -> tuple[ScorePlan | None, ...]:
        if not self.takes_plans:
            if request.plans is not None and any(plan is not None for plan in request.plans):
                raise InvalidInput(f"model {self.name!r} takes no plans", field="plans")
            return (None,) * len(request.prompts)
        if request.plans is not None:
            return request.plans
        return tuple(
            make_plan(request.prompt_at(row, 0.0), duration=request.duration, seed=seed)
            for row, seed in enumerate(seeds)
        )

    def _attributes(
        self, request: GenerationRequest, plans: Sequence[ScorePlan | None], seeds: Sequence[int]
    ) -> list[list[ConditioningAttributes]]:
        """What each row is conditioned on, for each entry of the schedule."""
        wavs = references.wav_conditions(
            self.lm, request, seeds=seeds, sample_rate=self.sample_rate, device=self.device
        )
        schedule = request.schedule or ((0.0, ""),)
        entries: list[list[ConditioningAttributes]] = [[] for _ in schedule]
        for row, (plan, seed) in enumerate(zip(plans, seeds, strict=True)):
            over_time = plans_over_time(plan, schedule, duration=request.duration, seed=seed)
            for entry, (second, _), heard in zip(entries, schedule, over_time, strict=True):
                prompt = request.prompt_at(row, second)
                attributes = ConditioningAttributes(
                    text={"description": prompt},
                    joint_embed=references.joint_embed_conditions(self.lm, prompt, self.device),
                )
                if self.takes_plans:
                    attributes.symbolic[PLAN] = SymbolicCondition(plan=heard)
                if wavs:
                    attributes.wav[references.REFERENCE] = wavs[row]
                entry.append(attributes)
        return entries

    @torch.inference_mode()
    def _prompt_codes(self, request: GenerationRequest) -> Tensor:
        """The codes [B, K, P] of the audio to continue; P is 0 without any."""
        if request.prompt_audio is None or request.prompt_sample_rate is None:
            shape = (len(request.prompts), self.lm.num_codebooks, 0)
            return torch.zeros(shape, dtype=torch.long, device=self.device)
        audio = convert_audio(
            request.prompt_audio.float(), request.prompt_sample_rate, self.sample_rate, self.audio_channels
        )
        rows = []
        for row in audio.to(self.device).split(1):
            codes, scale = self.compression_model.encode(row)
            if scale is not None:
                raise InvalidInput(
                    f"the codec of model {self.name!r} stores volumes, which cannot be continued",
                    field="prompt_audio",
                )
            rows.append(codes)
        return torch.cat(rows)

    def _frames(self, job: Job) -> Iterator[Tensor]:
        return windows.generate(self.lm, job.piece, job.session)

    @torch.inference_mode()
    def audio_of(self, codes: Tensor) -> Tensor:
        """codes [B, K, T] -> audio [B, C, N], row by row so that a row's samples do not depend on its neighbours."""
        return torch.cat([self.compression_model.decode(row, None) for row in codes.split(1)])

    # ------------------------------------------------------------------ upstream's interface

    @staticmethod
    @abstractmethod
    def get_pretrained(
        name: str, device: str | torch.device | None = None, *, precision: str | None = "auto"
    ) -> BaseGenModel:
        """A trained model by name, folder or file."""

    @abstractmethod
    def set_generation_params(self, *args: object, **kwargs: object) -> None:
        """Set what `generate` uses."""

    def set_custom_progress_callback(
        self, progress_callback: Callable[[int, int], None] | None = None
    ) -> None:
        """Call `progress_callback(done, total)` after each step of later `generate` calls."""
        self._progress_callback = progress_callback

    def generate_unconditional(
        self, num_samples: int, progress: bool = False, return_tokens: bool = False
    ) -> Generated:
        """Audio [B, C, N] of `num_samples` pieces that nothing was asked of."""
        if num_samples < 1:
            raise InvalidInput(f"num_samples must be at least 1, got {num_samples}", field="num_samples")
        return self._generate(self._request((None,) * num_samples), progress, return_tokens)

    def generate(
        self, descriptions: Sequence[str | None], progress: bool = False, return_tokens: bool = False
    ) -> Generated:
        """Audio [B, C, N], one piece per description; with `return_tokens` also its codes [B, K, T]."""
        if isinstance(descriptions, str):
            raise InvalidInput("descriptions must be a list of texts, not one text", field="descriptions")
        return self._generate(self._request(tuple(descriptions)), progress, return_tokens)

    def generate_continuation(
        self,
        prompt: Tensor,
        prompt_sample_rate: int,
        descriptions: Sequence[str | None] | None = None,
        progress: bool = False,
        return_tokens: bool = False,
    ) -> Generated:
        """Audio that starts with `prompt` ([B, C, N], or [C, N] for one row) and goes on."""
        if prompt.dim() == 2:
            prompt = prompt[None]
        if prompt.dim() != 3:
            raise InvalidInput(
                f"prompt must be [rows, channels, samples] or [channels, samples], got {list(prompt.shape)}",
                field="prompt",
            )
        texts = (None,) * len(prompt) if descriptions is None else tuple(descriptions)
        request = replace(self._request(texts), prompt_audio=prompt, prompt_sample_rate=prompt_sample_rate)
        return self._generate(request, progress, return_tokens)

    def generate_audio(self, gen_tokens: Tensor) -> Tensor:
        """Codes [B, K, T] -> audio [B, C, N]."""
        if gen_tokens.dim() != 3:
            raise InvalidInput(
                f"tokens must be [rows, codebooks, frames], got {list(gen_tokens.shape)}", field="gen_tokens"
            )
        return self.audio_of(gen_tokens).clone()

    def _request(self, prompts: tuple[str | None, ...]) -> GenerationRequest:
        settings = self.defaults
        return GenerationRequest(
            prompts=prompts,
            duration=settings.duration,
            seeds=_seeds_for_callers_of_generate(len(prompts)),
            sampling=settings.sampling,
            guidance=settings.guidance,
            window=replace(settings.window, level_anchor=False),  # as the original leaves it
            style=settings.style,
        )

    def _generate(self, request: GenerationRequest, progress: bool, return_tokens: bool) -> Generated:
        callback = self._progress_callback
        report: ProgressCallback | None = None
        if progress:
            report = _show_progress if callback is None else lambda event: callback(event.done, event.total)
        result = self.run(request, progress=report)
        return (result.audio, result.codes) if return_tokens else result.audio


def _seeds_for_callers_of_generate(rows: int) -> tuple[int, ...] | None:
    """Seeds from torch's global generator where the caller seeded it, as users of the original expect."""
    if torch.initial_seed() == _UNSEEDED:
        return None
    return tuple(int(seed) for seed in torch.randint(0, 2**31 - 1, (rows,), device="cpu"))


def _show_progress(event: Progress) -> None:
    end = "\n" if event.done == event.total else "\r"
    sys.stderr.write(f"{event.done:6d} / {event.total:6d}{end}")
    sys.stderr.flush()


def seams_of(model: BaseGenModel, job: Job) -> list[int]:
    """The samples at which the windows of `job`, after the first, begin to generate."""
    frame = model.sample_rate / model.frame_rate
    return [round((span.start + span.known) * frame) for span in job.piece.spans[1:]]
