"""From the body of a stored job back to the request that an engine runs, and from its plan to a document."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch

from audiocraft.config.decode import encode
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling, WindowSettings
from audiocraft.server.api.schemas import GenerationBody, PlanBody, SectionBody
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.records import GenerationJob
from audiocraft.server.worker.ports import Samples
from audiocraft.types import ScorePlan, StyleSettings


def request_of(job: GenerationJob, blobs: BlobStore) -> GenerationRequest:
    """The request of a stored job, with the audio that it refers to."""
    body = GenerationBody.model_validate(dict(job.request))
    found = blobs.input_of(job.id)
    return to_request(body, *found) if found is not None else to_request(body)


def to_request(
    body: GenerationBody, audio: Samples | None = None, sample_rate: int | None = None
) -> GenerationRequest:
    """A body whose model and seed are decided as the engine takes it; `audio` [C, N] is what it starts from."""
    wav = None if audio is None else torch.from_numpy(audio)
    continues = wav is not None and body.kind == "continuation"
    follows = wav is not None and body.kind in ("melody", "style")
    return GenerationRequest(
        prompts=(body.prompt or None,),
        duration=body.duration,
        seeds=(body.seed,) if body.seed is not None else None,
        sampling=Sampling(top_k=body.top_k, top_p=body.top_p, temperature=body.temperature),
        guidance=Guidance(coef=body.guidance, coef_beta=body.guidance_beta),
        window=WindowSettings(stride=body.stride),
        schedule=_schedule(body.sections),
        prompt_audio=wav[None] if continues and wav is not None else None,
        prompt_sample_rate=sample_rate if continues else None,
        plans=(_plan(body.plan, body.duration),) if body.plan is not None else None,
        reference_audio=(wav,) if follows else None,
        reference_sample_rate=sample_rate if follows else None,
        style=StyleSettings(**body.style.model_dump()) if body.style is not None else None,
        decoder=body.decoder,
    )


def plan_document(plan: ScorePlan | None) -> dict[str, Any] | None:
    """A plan as it is stored and answered."""
    document: dict[str, Any] | None = encode(plan) if plan is not None else None
    return document


def _schedule(sections: list[SectionBody]) -> tuple[tuple[float, str], ...]:
    starts = accumulate((section.duration_ms / 1000 for section in sections), initial=0.0)
    return tuple((start, section.text) for start, section in zip(starts, sections, strict=False))


def _plan(plan: PlanBody, duration: float) -> ScorePlan:
    return ScorePlan(
        tempo=plan.tempo,
        key=plan.key,
        beats_per_bar=plan.beats_per_bar,
        first_beat=plan.first_beat,
        chords=tuple((chord.at, chord.chord) for chord in plan.chords),
        duration=duration,
    )
