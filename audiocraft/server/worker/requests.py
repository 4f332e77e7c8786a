"""From the body of a stored job back to the request that an engine runs, and from its plan to a document."""

from __future__ import annotations

from typing import Any

import torch

from audiocraft.analysis.hearing import heard_plan
from audiocraft.audio.finishing import Finish
from audiocraft.config.decode import encode
from audiocraft.config.limits import FADE
from audiocraft.generation.controls import Controls
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling, WindowSettings
from audiocraft.music.continuing import going_on, homeward
from audiocraft.music.planning import ScoreSettings
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.api.scores import plan_of_body, schedule_of, score_of, words_of
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.records import GenerationJob
from audiocraft.server.worker.ports import Samples
from audiocraft.types import ScorePlan, StyleSettings


def request_of(job: GenerationJob, blobs: BlobStore) -> GenerationRequest:
    """The request of a stored job, with the audio that it refers to."""
    body = GenerationBody.model_validate(dict(job.request))
    found = blobs.input_of(job.id)
    if found is None:
        return to_request(body)
    audio, rate = found
    if body.audio is not None and body.audio.generation is not None:
        # The end of one's own piece was faded out; going on behind the fade would leave a gap.
        audio = audio[:, : max(1, audio.shape[-1] - round(Finish().fade * rate))]
    return to_request(body, audio, rate)


def finish_of(job: GenerationJob) -> Finish:
    """How the audio of a stored job is finished."""
    loop = job.request.get("loop") is not None
    return Finish(fade=0.0 if loop else job.request.get("fade", FADE))


def to_request(
    body: GenerationBody, audio: Samples | None = None, sample_rate: int | None = None
) -> GenerationRequest:
    """A body whose model and seed are decided as the engine takes it; `audio` [C, N] is what it starts from."""
    wav = None if audio is None else torch.from_numpy(audio)
    continues = wav is not None and body.kind == "continuation"
    plan = plan_of_body(body)
    if continues and wav is not None and sample_rate and body.plan is not None and body.plan.from_audio:
        plan = _heard(body, wav, sample_rate)
    follows = wav is not None and body.kind in ("melody", "style")
    return GenerationRequest(
        prompts=(body.prompt or None,),
        duration=body.duration,
        seeds=(body.seed,) if body.seed is not None else None,
        sampling=Sampling(top_k=body.top_k, top_p=body.top_p, temperature=body.temperature),
        guidance=Guidance(coef=body.guidance, coef_beta=body.guidance_beta),
        window=WindowSettings(stride=body.stride),
        schedule=schedule_of(body.sections),
        prompt_audio=wav[None] if continues and wav is not None else None,
        prompt_sample_rate=sample_rate if continues else None,
        plans=None if plan is None else (plan,),
        score=ScoreSettings() if plan is not None else score_of(body),
        reference_audio=(wav,) if follows else None,
        reference_sample_rate=sample_rate if follows else None,
        controls=Controls(
            chords=body.timed_chords,
            drums=wav if body.kind == "drums" else None,
            drums_sample_rate=sample_rate if body.kind == "drums" else None,
        ),
        style=StyleSettings(**body.style.model_dump()) if body.style is not None else None,
        negative=body.negative or None,
        loop=body.loop is not None,
        ending=body.ending,
        decoder=body.decoder,
    )


def plan_document(plan: ScorePlan | None) -> dict[str, Any] | None:
    """A plan as it is stored and answered."""
    document: dict[str, Any] | None = encode(plan) if plan is not None else None
    return document


def _heard(body: GenerationBody, wav: torch.Tensor, sample_rate: int) -> ScorePlan | None:
    """The plan of audio [C, N] that goes on, as far as it can be heard."""
    plan = heard_plan(wav, sample_rate)
    if plan is None:
        return None
    seconds = wav.shape[-1] / sample_rate
    text = homeward(plan, words_of(body))
    return going_on(plan, text, at=seconds, duration=body.duration, seed=body.seed or 0)
