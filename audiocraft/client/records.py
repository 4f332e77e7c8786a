"""What is asked of a server and what it answers: requests, pieces, events and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

from audiocraft.errors import AudioCraftError

Kind = Literal["music", "sound", "continuation", "melody", "style", "drums"]
Status = Literal["queued", "starting", "processing", "succeeded", "failed", "canceled"]
FINISHED: tuple[Status, ...] = ("succeeded", "failed", "canceled")


class ServerError(AudioCraftError):
    """The server refused a request or could not do what it asked, and says why.

    Args:
        status: the HTTP status; 0 where nothing answered.
        code: a stable name of what went wrong.
        field: the field of the request that was at fault.
        retry_after: seconds after which the server asks to come back.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.retry_after = retry_after


class ServerAway(ServerError):
    """The server could not be reached: nothing answered, or a proxy on the way answered in its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """This record tells of a piece on the server. `raw` is the whole answer."""

    id: str
    status: Status
    kind: str
    model: str
    prompt: str
    duration: float
    seed: int
    progress: float
    position: int | None = None
    error: Mapping[str, Any] | None = None
    understood: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def finished(self) -> bool:
        """Return whether it has ended, well or not."""
        return self.status in FINISHED


class GenerationOptions(TypedDict, total=False):
    """This record holds the fields of a request for a piece beside its prompt and kind; None leaves one out.
    `Client.submit` says what each is."""

    duration: float | None
    model: str | None
    adapters: Sequence[str | Mapping[str, Any]] | None
    seed: int | None
    audio: str | Path | Generation | Mapping[str, str] | None
    keep: Sequence[Sequence[float] | Mapping[str, float]] | None
    drums: str | Path | Generation | Mapping[str, str] | None
    tune: str | Path | Generation | Mapping[str, str] | None
    notes: Sequence[Mapping[str, float]] | None
    chords: str | Path | Sequence[Sequence[Any] | Mapping[str, Any]] | None
    bpm: float | None
    beats_per_bar: int | None
    plan: Mapping[str, Any] | None
    sections: Sequence[Mapping[str, Any]] | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    guidance: float | None
    guidance_beta: float | None
    guidance_text: float | None
    least_guidance: float | None
    decoding_steps: Sequence[int] | None
    span_arrangement: str | None
    anneal: bool | None
    rescorer: str | None
    rescorer_weight: float | None
    flow_solver: str | None
    flow_steps: int | None
    flow_rtol: float | None
    flow_atol: float | None
    stride: float | None
    style: Mapping[str, Any] | None
    negative: str | None
    loop: int | None
    ending: Literal["cadence", "fade", "ring"] | None
    takes: int | None
    budget: str | None
    decoder: str | None
    fade: float | None
    priority: int | None
    metadata: Mapping[str, str] | None
    webhook: str | None
    idempotency_key: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEvent:
    """This record holds something that happened to a piece; `id` is where to go on after a break."""

    id: int
    kind: str
    data: Mapping[str, Any]


def id_of(piece: Generation | str) -> str:
    """Return the identifier of a piece."""
    return piece if isinstance(piece, str) else piece.id


def generation_of(document: Mapping[str, Any]) -> Generation:
    """Return a piece from the answer that tells of it."""
    names = [name for name in Generation.__dataclass_fields__ if name != "raw"]
    values: dict[str, Any] = {name: document.get(name) for name in names}
    return Generation(**values, raw=document)
