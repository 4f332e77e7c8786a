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

from audiocraft.data.audio_utils import convert_audio
from audiocraft.errors import InvalidInput
from audiocraft.generation import windows
from audiocraft.generation.planning import make_plan
from audiocraft.generation.progress import CancelToken, Progress, ProgressCallback
from audiocraft.generation.request import GenerationRequest, GenerationResult, Guidance, Sampling, Window
from audiocraft.generation.session import Session
from audiocraft.models import references
from audiocraft.models.encodec import CompressionModel, EncodecModel
from audiocraft.models.lm import LMModel
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
        """Make the whole piece. Equal requests with seeds give equal results, whoever else uses the model."""
        started = time.perf_counter()
        job = self._prepare(request, progress, cancel)
        codes = torch.cat(list(self._frames(job)), dim=-1).clone()
        made_codes = time.perf_counter()
        audio = self._audio_of(codes)[..., : job.num_samples].clone()
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
    ) -> Iterator[Tensor]:
        """Yield the same audio as `run` in chunks [B, C, n] while it is made. A codec that is not causal can only
        decode the whole, so it yields once."""
        job = self._prepare(request, progress, cancel)
        frames = self._frames(job)
        if not (isinstance(self.compression_model, EncodecModel) and self.compression_model.causal):
            codes = torch.cat(list(frames), dim=-1)
            yield self._audio_of(codes)[..., : job.num_samples].clone()
            return
        left = job.num_samples
        chunks = _grouped(frames, max(1, round(chunk_seconds * self.frame_rate)))
        for audio in self._decoded(chunks, job.piece.spans[-1].stop):
            yield audio[..., :left].clone()
            left -= audio.shape[-1]
            if left <= 0:
                return

    @torch.inference_mode()
    def _decoded(self, chunks: Iterator[Tensor], total: int) -> Iterator[Tensor]:
        """Codes [B, K, t] in chunks, `total` frames together -> audio [B, C, n] in chunks."""
        codec, states, done = self.compression_model, None, 0
        for codes in chunks:
            done += codes.shape[-1]
            rows = codes.split(1)  # one by one, as in `_audio_of`
            if states is None:
                states = [codec.init_decode_state(1) for _ in rows]
            final = done == total
            yield torch.cat(
                [codec.decode_step(row, state, final=final) for row, state in zip(rows, states, strict=True)]
            )

    def _prepare(
        self, request: GenerationRequest, progress: ProgressCallback | None, cancel: CancelToken | None
    ) -> _Job:
        """Everything about a request that can be wrong is found here, before the first step."""
        references.check(self.name, self.lm, request)
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
        piece = windows.Piece(
            attributes=self._attributes(request, plans, seeds),
            spans=windows.plan_spans(
                total,
                context=context,
                stride=max(1, int(stride * self.frame_rate + 1e-6)) if stride else context,
                prompt=prompt.shape[-1],
            ),
            prompt=prompt,
            frame_rate=self.frame_rate,
            sampling=request.sampling,
            guidance=request.guidance,
        )
        return _Job(
            piece=piece,
            session=Session.open(seeds, progress=progress, cancel=cancel),
            seeds=seeds,
            plans=plans,
            num_samples=round(request.duration * self.sample_rate),
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
            make_plan(prompt, duration=request.duration, seed=seed)
            for prompt, seed in zip(request.prompts, seeds, strict=True)
        )

    def _attributes(
        self, request: GenerationRequest, plans: Sequence[ScorePlan | None], seeds: Sequence[int]
    ) -> list[ConditioningAttributes]:
        """What each row is conditioned on."""
        rows = [ConditioningAttributes(text={"description": prompt}) for prompt in request.prompts]
        if self.takes_plans:
            for row, plan in zip(rows, plans, strict=True):
                row.symbolic[PLAN] = SymbolicCondition(plan=plan)
        wavs = references.wav_conditions(
            self.lm, request, seeds=seeds, sample_rate=self.sample_rate, device=self.device
        )
        for row, wav in zip(rows, wavs or (), strict=False):
            row.wav[references.REFERENCE] = wav
        return rows

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

    def _frames(self, job: _Job) -> Iterator[Tensor]:
        return windows.generate(self.lm, job.piece, job.session)

    @torch.inference_mode()
    def _audio_of(self, codes: Tensor) -> Tensor:
        """codes [B, K, T] -> audio [B, C, N], row by row so that a row's samples do not depend on its neighbours."""
        return torch.cat([self.compression_model.decode(row, None) for row in codes.split(1)])

    # ------------------------------------------------------------------ upstream's interface

    @staticmethod
    @abstractmethod
    def get_pretrained(name: str, device: str | torch.device | None = None) -> BaseGenModel:
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
        return self._audio_of(gen_tokens).clone()

    def _request(self, prompts: tuple[str | None, ...]) -> GenerationRequest:
        settings = self.defaults
        return GenerationRequest(
            prompts=prompts,
            duration=settings.duration,
            seeds=_seeds_for_callers_of_generate(len(prompts)),
            sampling=settings.sampling,
            guidance=settings.guidance,
            window=settings.window,
            style=settings.style,
        )

    def _generate(self, request: GenerationRequest, progress: bool, return_tokens: bool) -> Generated:
        callback = self._progress_callback
        report: ProgressCallback | None = None
        if progress:
            report = _show_progress if callback is None else lambda event: callback(event.done, event.total)
        result = self.run(request, progress=report)
        return (result.audio, result.codes) if return_tokens else result.audio


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """A request that has been checked and can start."""

    piece: windows.Piece
    session: Session
    seeds: tuple[int, ...]
    plans: tuple[ScorePlan | None, ...]
    num_samples: int


def _grouped(frames: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """The same frames in chunks of at least `size`, which a codec decodes faster."""
    waiting: list[Tensor] = []
    for chunk in frames:
        waiting.append(chunk)
        if sum(part.shape[-1] for part in waiting) >= size:
            yield torch.cat(waiting, dim=-1)
            waiting = []
    if waiting:
        yield torch.cat(waiting, dim=-1)


def _seeds_for_callers_of_generate(rows: int) -> tuple[int, ...] | None:
    """Seeds from torch's global generator where the caller seeded it, as users of the original expect."""
    if torch.initial_seed() == _UNSEEDED:
        return None
    return tuple(int(seed) for seed in torch.randint(0, 2**31 - 1, (rows,)))


def _show_progress(event: Progress) -> None:
    end = "\n" if event.done == event.total else "\r"
    sys.stderr.write(f"{event.done:6d} / {event.total:6d}{end}")
    sys.stderr.flush()
