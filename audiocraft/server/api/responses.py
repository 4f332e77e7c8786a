"""Bodies of answers: pieces, uploads, codes, models, and errors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from audiocraft.config.decode import encode
from audiocraft.server.api.schemas import JobKind
from audiocraft.server.jobs.records import GenerationJob, Status


class Problem(BaseModel):
    """This is an error after RFC 9457. `code` is stable; `message` is for people; `field` names what was at fault."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    message: str
    detail: str
    field: str | None = None
    request_id: str | None = None


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request cannot be honoured; `code` and `field` say why."},
    "5XX": {"model": Problem, "description": "The server is full, out of room, or at fault."},
}
"""What every route may answer instead of a result."""


class ErrorBody(BaseModel):
    """Why a piece could not be made."""

    code: str
    message: str
    field: str | None = None


class AudioFacts(BaseModel):
    """The audio of a piece; while it is made, as much as there is."""

    sample_rate: int = Field(description="Samples a second.")
    channels: int
    seconds: float = Field(description="How much can be read now.")
    complete: bool = Field(description="Whether this is all of it.")


class Links(BaseModel):
    """These are the addresses of the rest."""

    self: str
    events: str
    stream: str
    audio: str
    cancel: str


class WebhookFacts(BaseModel):
    """How far the message about a finished piece is."""

    state: Literal["waiting", "delivered", "given_up"]
    attempts: int
    last_answer: str | None = Field(description="The status of the last answer, or what went wrong.")
    next_at: datetime | None = Field(description="When it is sent next.")


class GenerationAnswer(BaseModel):
    """A piece that was asked for, and how far it is."""

    id: str
    object: Literal["generation"] = "generation"
    status: Status
    kind: JobKind
    model: str
    prompt: str
    duration: float = Field(description="Seconds that were asked for.")
    seed: int = Field(description="Asked for again with it, the same piece is made.")
    progress: Annotated[float, Field(ge=0, le=1)] = Field(description="1 only when the audio is there.")
    position: int | None = Field(default=None, description="How many are before it in the queue.")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    audio: AudioFacts | None = None
    error: ErrorBody | None = Field(default=None, description="Why it failed.")
    request: dict[str, Any] = Field(
        description="The request as it was said, with model and seed decided; null: what suits the model."
    )
    result: dict[str, Any] | None = Field(
        default=None, description="Plan, timings and digest of a finished piece."
    )
    understood: dict[str, Any] | None = Field(
        default=None,
        description="What was understood of the words: tempo, key, chords, `scene` (which sounds when), `unknown` "
        "words, `notes`, a `suggestion`, and `line`, all of it on one line.",
    )
    webhook: WebhookFacts | None = Field(
        default=None, description="How far its webhook is; where one piece is asked for, once that has ended."
    )
    metadata: dict[str, str] = Field(default_factory=dict, description="The caller's own words.")
    links: Links


class GenerationPage(BaseModel):
    """This page has some pieces, the newest first; `next` continues after them."""

    object: Literal["list"] = "list"
    data: list[GenerationAnswer]
    next: str | None = Field(default=None, description="The `after` of the next page; null on the last.")


class Upload(BaseModel):
    """A file that was sent and decoded."""

    id: str
    object: Literal["upload"] = "upload"
    name: str
    format: str = Field(description="What it was sent as.")
    sha256: str = Field(description="Of the file as it was sent.")
    sample_rate: int
    channels: int
    seconds: float
    created_at: datetime
    expires_at: datetime


class UploadList(BaseModel):
    """All uploads of a caller."""

    object: Literal["list"] = "list"
    data: list[Upload]


class EncodedAudio(BaseModel):
    """This is a file as codes."""

    object: Literal["codes"] = "codes"
    model: str
    codes: list[list[int]] = Field(description="A list for each codebook, the coarsest first.")
    scale: list[float] | None = Field(description="The volume of each chunk, with codecs that keep it apart.")
    sample_rate: int
    channels: int
    frame_rate: float
    samples: int = Field(description="How long the audio is, at this sample rate.")


class ModelEntry(BaseModel):
    """A model that requests may name. The first four fields are those of OpenAI's API."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str
    kind: Literal["music", "sound", "audio", "codec", "decoder"] = Field(
        description="What it makes; audio: both, or it must be fetched before that is known."
    )
    family: str | None = Field(default=None, description="musicgen, audiogen, encodec and so on.")
    loaded: bool = Field(description="Whether it is in memory.")
    default: bool = Field(description="Whether requests of its kind that name none get it.")
    license: str | None = None
    takes: list[str] = Field(
        default_factory=list,
        description="continuation, plan, melody, style: what it can be given beside a prompt.",
    )
    sample_rate: int | None = None
    channels: int | None = None
    bytes: int | None = Field(default=None, description="Of memory, while it is loaded.")
    guidance: float | None = Field(
        default=None, description="What `guidance` is where a request does not say; absent until it is known."
    )
    settings: dict[str, Any] | None = Field(
        default=None,
        description="The settings that requests may give, by their fields, and what holds where they do not: "
        "temperature, top_k, decoding_steps, flow_steps and so on. Absent until it is known.",
    )
    vocabulary: dict[str, list[str]] | None = Field(
        default=None, description="The words that it was taught, by groups; absent: any words."
    )
    window: float | None = Field(
        default=None, description="Seconds made at a time; longer pieces are made window by window."
    )


class AdapterEntry(BaseModel):
    """Low-rank adapters that requests may put onto a model."""

    id: str
    object: Literal["adapter"] = "adapter"
    base: str = Field(description="The model that it is for; others refuse it.")
    bytes: int = Field(description="Of its file.")


class ModelList(BaseModel):
    """These are all models of this server."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]
    adapters: list[AdapterEntry] = Field(
        default_factory=list, description="What requests may name in `adapters`, for models of this list."
    )
    watermark: str | None = Field(
        default=None,
        description="What marks all audio that leaves this server as made by a machine; null: nothing does.",
    )
    upload_bytes: int = Field(description="What a file sent to this server may have, in bytes.")


def moment(seconds: float) -> datetime:
    """Return a time of the store as answers carry it."""
    return datetime.fromtimestamp(seconds, UTC)


def generation_of(job: GenerationJob, *, position: int | None = None) -> GenerationAnswer:
    """Return a job as its owner sees it."""
    base = f"/v1/generations/{job.id}"
    audio = None
    if job.sample_rate and job.channels:
        audio = AudioFacts(
            sample_rate=job.sample_rate,
            channels=job.channels,
            seconds=job.samples / job.sample_rate,
            complete=job.status == "succeeded",
        )
    return GenerationAnswer.model_validate(
        {
            "id": job.id, "status": job.status, "kind": job.kind, "model": job.model,
            "prompt": job.prompt, "duration": job.duration, "seed": job.seed,
            "progress": job.progress, "position": position, "created_at": moment(job.created_at),
            "started_at": moment(job.started_at) if job.started_at else None,
            "finished_at": moment(job.finished_at) if job.finished_at else None,
            "audio": audio, "error": encode(job.error) if job.error else None,
            "request": dict(job.request), "result": job.result, "understood": job.understood,
            "metadata": job.request.get("metadata", {}),
            "links": {"self": base, **{name: f"{base}/{name}" for name in ("events", "stream", "audio", "cancel")}},
        }
    )  # fmt: skip


def generation_document(job: GenerationJob) -> dict[str, Any]:
    """Return a job as its owner sees it, as plain values for JSON."""
    return generation_of(job).model_dump(mode="json", by_alias=True)
