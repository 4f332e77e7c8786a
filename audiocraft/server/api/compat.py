"""Other people's ways to ask: the first paths of this project, OpenAI's speech route, and /v1/audio/generate.

All are thin: they make the same job as /v1/generations, wait for it, and answer with its audio.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ConfigDict, Field, StringConstraints

from audiocraft.errors import InvalidInput
from audiocraft.server.api import submission
from audiocraft.server.api.deps import GenerateCaller, ServicesDep
from audiocraft.server.api.files import file_of
from audiocraft.server.api.responses import PROBLEMS
from audiocraft.server.api.schemas import (
    AudioFormatName,
    GenerationBody,
    GuidanceScale,
    Kind,
    ModelName,
    PromptText,
    Seconds,
    Seed,
    Share,
    Strict,
    Temperature,
    TopK,
)
from audiocraft.server.api.streams import stream_of
from audiocraft.server.errors import NotReady, RequestRefused, TimedOut
from audiocraft.server.jobs.records import GenerationJob
from audiocraft.server.security.keys import Principal
from audiocraft.server.services import Services

_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_WAV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"audio/wav": _BINARY}, "description": "The audio."}
}
_ANY: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            kind: _BINARY for kind in ("audio/mpeg", "audio/ogg", "audio/flac", "audio/wav", "audio/pcm")
        },
        "description": "The audio.",
    }
}

router = APIRouter(tags=["compatible"], responses=PROBLEMS)

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class TextToAudioBody(Strict):
    """This body is what the first version of the platform took."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "calm piano, 80 bpm", "duration": 5}]})

    text: PromptText = Field(description="What it should sound like.")
    duration: Seconds = Field(default=10.0, description="Seconds.")
    temperature: Temperature | None = Field(
        default=None,
        description="0 always takes what is likeliest; more is more varied; by default what suits it.",
    )
    top_k: TopK | None = Field(
        default=None, description="Choose among so many of the likeliest; 0 among all; mostly 250."
    )
    top_p: Share | None = Field(
        default=None,
        description="Choose among those that have this probability together; 0 leaves it to top_k.",
    )
    cfg_coef: GuidanceScale | None = Field(
        default=None, description="Left out, it is what suits the model; 3 for the released ones."
    )
    seed: Seed | None = Field(default=None, description="Same seed, same audio.")


class SpeechBody(Strict):
    """This is OpenAI's body. `voice` must be there for their clients and may say anything: music has none."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "musicgen-nano", "input": "calm piano", "voice": "none"}]}
    )

    model: ModelName = Field(description="One of /v1/models.")
    input: Text = Field(description="What it should sound like.")
    voice: Annotated[str, StringConstraints(max_length=100)] | dict[str, str] = Field(
        default="none", description="Says nothing here."
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        default="mp3", description="aac is not written here."
    )
    speed: float = Field(default=1.0, description="Must be 1: the tempo is part of the words.")
    stream_format: Literal["audio", "sse"] = Field(default="audio", description="Must be audio.")
    instructions: str | None = Field(default=None, description="Must be empty: say everything in input.")
    duration: Seconds = Field(default=10.0, description="Ours: seconds of audio.")
    seed: Seed | None = Field(default=None, description="Ours.")


class AudioGenerateBody(Strict):
    """The body of servers that offer /v1/audio/generate."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"input": "rain and thunder", "audio_length": 5}]}
    )

    input: Text = Field(description="What it should sound like.")
    model: ModelName | None = Field(default=None, description="One of /v1/models; by default the server's.")
    audio_length: Seconds = Field(default=10.0, description="Seconds.")
    audio_start: float = Field(default=0.0, description="Must be 0.")
    negative_prompt: str | None = Field(default=None, description="Refused: the models know no such thing.")
    guidance_scale: GuidanceScale | None = Field(
        default=None, description="How strictly the words are followed; by default what suits the model."
    )
    num_inference_steps: int | None = Field(
        default=None, description="Refused: the models know no such thing."
    )
    seed: Seed | None = Field(default=None, description="Same seed, same audio.")
    response_format: Literal["wav", "mp3", "flac", "opus", "pcm"] = Field(
        default="wav", description="How the audio is sent."
    )


@router.post("/generate/music", response_class=Response, responses=_WAV)
async def generate_music(
    body: TextToAudioBody, services: ServicesDep, who: GenerateCaller, request: Request
) -> Response:
    """Music from a text, as a WAV file, when it is finished."""
    return await _file(services, who, _first(body, "music"), "wav", request)


@router.post("/generate/audio", response_class=Response, responses=_WAV)
async def generate_audio(
    body: TextToAudioBody, services: ServicesDep, who: GenerateCaller, request: Request
) -> Response:
    """A sound from a text, as a WAV file, when it is finished."""
    return await _file(services, who, _first(body, "sound"), "wav", request)


@router.post("/v1/audio/speech", response_class=Response, responses=_ANY)
async def speech(body: SpeechBody, services: ServicesDep, who: GenerateCaller, request: Request) -> Response:
    """Music from `input`, sent while it is made."""
    if body.speed != 1.0:
        raise InvalidInput("the speed of music is part of its description: say the tempo", field="speed")
    if body.instructions:
        raise InvalidInput("say everything in input", field="instructions")
    if body.stream_format != "audio":
        raise InvalidInput("only stream_format audio is sent", field="stream_format")
    if body.response_format == "aac":
        raise InvalidInput(
            "aac is not written here: one of mp3, opus, flac, wav, pcm", field="response_format"
        )
    words = _words(body.input, "input")
    asked = GenerationBody(prompt=words, model=body.model, duration=body.duration, seed=body.seed)
    job, _ = await submission.submit(services, who, asked)
    limits = replace(services.stream_limits, wait=services.config.request.generate_seconds)

    def stop() -> GenerationJob:
        """Nobody else knows of this job: whoever stops listening stops it. One that has ended stays as it is."""
        return submission.cancel(services, job.id, who.owner)

    try:
        answer = await stream_of(services, job, body.response_format, request, limits=limits, ended=stop)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            job = await run_in_threadpool(stop)
        if isinstance(error, NotReady):
            raise (_refusal(job) if job.status == "failed" else _too_long()) from error
        raise
    return _told(answer, job)


@router.post("/v1/audio/generate", response_class=Response, responses=_ANY, deprecated=True)
async def audio_generate(
    body: AudioGenerateBody, services: ServicesDep, who: GenerateCaller, request: Request
) -> Response:
    """Audio from `input`, when it is finished. Other servers had this route and have dropped it; it stays for their
    clients. New ones use `/v1/generations`."""
    unknown = {"negative_prompt": body.negative_prompt, "num_inference_steps": body.num_inference_steps}
    for name, value in unknown.items():
        if value is not None:
            raise InvalidInput(f"{name} means nothing to the models here", field=name)
    if body.audio_start:
        raise InvalidInput(
            "audio_start must be 0: continue a piece with /v1/generations", field="audio_start"
        )
    asked = GenerationBody(
        prompt=_words(body.input, "input"),
        model=body.model,
        duration=body.audio_length,
        seed=body.seed,
        guidance=body.guidance_scale,
    )
    return await _file(services, who, asked, body.response_format, request)


def _first(body: TextToAudioBody, kind: Kind) -> GenerationBody:
    return GenerationBody(
        kind=kind, prompt=_words(body.text, "text"), duration=body.duration, temperature=body.temperature,
        top_k=body.top_k, top_p=body.top_p, guidance=body.cfg_coef, seed=body.seed,
    )  # fmt: skip


def _words(text: str, field: str) -> str:
    """Return a text that says something."""
    if not text.strip():
        raise InvalidInput(f"{field} must say what it should sound like", field=field)
    return text


async def _file(
    services: Services, who: Principal, body: GenerationBody, format: AudioFormatName, request: Request
) -> Response:
    job, _ = await submission.submit(services, who, body)
    try:
        job = await submission.wait_until_finished(
            services, job, services.config.request.generate_seconds, gone=request.is_disconnected
        )
    finally:
        # Nobody else knows of this job: whoever stops waiting for it stops it.
        if not job.finished:
            await run_in_threadpool(submission.cancel, services, job.id, who.owner)
    if not job.finished:
        raise _too_long()
    if job.status != "succeeded":
        raise _refusal(job)
    return _told(await file_of(services, job, format, request), job)


def _told(answer: Response, job: GenerationJob) -> Response:
    """Return an answer that says which piece it is."""
    answer.headers["X-Generation-Id"] = job.id
    answer.headers["X-Seed"] = str(job.seed)
    return answer


def _too_long() -> TimedOut:
    return TimedOut("it takes longer than one request may; ask /v1/generations for it")


def _refusal(job: GenerationJob) -> RequestRefused:
    if job.error is None:
        refused = RequestRefused("the piece was canceled")
        refused.status, refused.code = 409, "canceled"
        return refused
    refused = RequestRefused(job.error.message, field=job.error.field)
    refused.status = 500 if job.error.code == "internal_error" else 422
    refused.code = job.error.code
    return refused
