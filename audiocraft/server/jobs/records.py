"""What a job is: plain records, the states it goes through, and its identifiers."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from audiocraft.audio.tags import generation_tags
from audiocraft.errors import AudioCraftError, QueueFull

Status = Literal["queued", "starting", "processing", "succeeded", "failed", "canceled"]
RUNNING: tuple[Status, ...] = ("starting", "processing")
TERMINAL: tuple[Status, ...] = ("succeeded", "failed", "canceled")

LOCAL_OWNER = "local"
"""Who asks without a key, on the machine itself."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(r"^(gen|upl|key|whd)_[0-9a-hjkmnp-tv-z]{26}$")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobError:
    """This record says why a job failed, as its owner reads it."""

    code: str
    message: str
    field: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationJob:
    """This record holds a piece that was asked for, and what became of it. Times are seconds since 1970.

    Args:
        request: the body as it was accepted, with model and seed decided: enough to make it again. What it does not say
            suits the model.
        duration: the length that was asked for, in seconds.
        done: the steps that are finished, of `total`.
        samples: the samples per channel that can be read already.
        attempts: the number of workers that have taken the job.
        fence: grows with each worker that takes the job; what an earlier one still writes is refused.
        lease_until: the time until which `worker` holds the job unless it prolongs its lease.
        result: what is known of a finished job: digest, plan, timings, seed.
        understood: what was understood of the request, in the words of `music.understanding`; None where nothing is.
    """

    id: str
    owner: str
    status: Status
    priority: int
    kind: str
    model: str
    request: Mapping[str, Any]
    prompt: str
    duration: float
    seed: int
    created_at: float
    updated_at: float
    started_at: float | None = None
    finished_at: float | None = None
    done: int = 0
    total: int = 0
    samples: int = 0
    sample_rate: int | None = None
    channels: int | None = None
    attempts: int = 0
    fence: int = 0
    worker: str | None = None
    lease_until: float | None = None
    error: JobError | None = None
    result: Mapping[str, Any] | None = None
    webhook_url: str | None = None
    understood: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Return whether the job has ended, well or not."""
        return self.status in TERMINAL

    @property
    def title(self) -> str:
        """Return what its owner calls it: a title they gave it, else its prompt."""
        named: str = self.request.get("metadata", {}).get("title", "")
        return named.strip() or self.prompt

    @property
    def progress(self) -> float:
        """Return how much is done, from 0 to 1; 1 only when the audio is there."""
        if self.status == "succeeded":
            return 1.0
        return min(0.999, self.done / self.total) if self.total else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    """This record holds what is known of a job before it is stored.

    Args:
        counted: seconds of audio that count against quotas, where they are not its duration.
    """

    id: str
    owner: str
    kind: str
    model: str
    request: Mapping[str, Any]
    prompt: str
    duration: float
    seed: int
    priority: int = 0
    webhook_url: str | None = None
    understood: Mapping[str, Any] | None = None
    counted: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEventRecord:
    """This record is one line of a job's history; `sequence` counts from 1 within the job."""

    job: str
    sequence: int
    kind: str
    data: Mapping[str, Any]
    created_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRecord:
    """This record describes a process that runs jobs, as it last reported."""

    id: str
    host: str
    pid: int
    device: str
    models: tuple[str, ...] = ()
    running: int = 0
    capacity: int = 0
    seen_at: float = field(default=0.0)


class JobNotFound(AudioCraftError):
    """There is no such job, or it belongs to someone else."""


class LeaseLost(AudioCraftError):
    """The job was canceled, deleted, or taken by another worker: this one must let go of it."""


class QuotaExceeded(QueueFull):
    """The caller has used up its own share."""


class ShareFull(QuotaExceeded):
    """The caller has as many jobs waiting as anybody may have."""


class IdempotencyConflict(AudioCraftError):
    """The idempotency key was used before, with another body."""


def new_id(prefix: str, *, now: float | None = None) -> str:
    """Return an identifier that sorts by time: 48 bits of milliseconds, 80 of chance."""
    milliseconds = int((time.time() if now is None else now) * 1000) & (2**48 - 1)
    number = milliseconds << 80 | secrets.randbits(80)
    digits = [_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def is_id(text: str, prefix: str) -> bool:
    """Return whether `text` is an identifier of that kind; nothing else ever becomes part of a path."""
    return bool(_ID.match(text)) and text.startswith(f"{prefix}_")


def tags_of(job: GenerationJob) -> dict[str, str]:
    """Return where a file comes from, written into it; the model's name has the adapters on it, as in base+jazz:0.8."""
    adapters = [f"+{one['name']}:{one['strength']:g}" for one in job.request.get("adapters", ())]
    found = job.result or {}
    seed = found["seed"] if "takes" in found else job.seed  # which makes the chosen take alone
    return generation_tags(job.prompt or job.kind, model="".join([job.model, *adapters]), seed=seed)
