"""Pieces: ask for one, look, list, cancel, forget."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from audiocraft.server.api import submission
from audiocraft.server.api.deps import GenerateCaller, ServicesDep, run_query
from audiocraft.server.api.responses import (
    PROBLEMS,
    GenerationAnswer,
    GenerationPage,
    WebhookFacts,
    generation_of,
    moment,
)
from audiocraft.server.api.schemas import MOST_METADATA, GenerationBody, MetadataBody
from audiocraft.server.jobs.records import GenerationJob, Status
from audiocraft.server.jobs.webhooks import webhook_state
from audiocraft.server.security.keys import Principal
from audiocraft.server.services import Services

JobId = Annotated[str, Path(description="As given by POST.")]
KeyHeader = Annotated[
    str | None, Header(max_length=255, description="The same key within a day is the same piece.")
]
PreferHeader = Annotated[str | None, Header(description="`wait=N` waits for the result, N seconds.")]

router = APIRouter(prefix="/v1/generations", tags=["generations"], responses=PROBLEMS)

_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])")


FINISHED: dict[int | str, dict[str, Any]] = {
    200: {"model": GenerationAnswer, "description": "Finished within the time of `Prefer: wait`."}
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """Who asks for something that becomes a job, and how.

    Args:
        key: the request's idempotency key.
        prefer: what it says of waiting for the result.
    """

    services: Services
    who: Principal
    request: Request
    response: Response
    key: str | None
    prefer: str | None

    async def answer(self, job: GenerationJob, created: bool) -> GenerationAnswer:
        """Return what was stored as it is at once, or after the time that `prefer` names.

        Args:
            created: whether the job is new, not that of an earlier request with the same key.
        """
        services, response = self.services, self.response
        position = await run_query(services, _position, services, job)
        seconds = min(_wait_of(self.prefer), services.config.request.wait_seconds)
        if seconds:
            gone = self.request.is_disconnected
            job = await submission.wait_until_finished(services, job, seconds, gone=gone)
            position = await run_query(services, _position, services, job)
            response.headers["Preference-Applied"] = f"wait={seconds:g}"
        if job.finished:
            response.status_code = 200
        if not created:
            response.headers["Idempotent-Replayed"] = "true"
        response.headers["Location"] = f"/v1/generations/{job.id}"
        return generation_of(job, position=position)


async def _asking(
    services: ServicesDep,
    who: GenerateCaller,
    request: Request,
    response: Response,
    idempotency_key: KeyHeader = None,
    prefer: PreferHeader = None,
) -> Asking:
    return Asking(
        services=services, who=who, request=request, response=response, key=idempotency_key, prefer=prefer
    )


AskingDep = Annotated[Asking, Depends(_asking)]


@router.post("", status_code=202, responses=FINISHED)
async def create_generation(body: GenerationBody, asking: AskingDep) -> GenerationAnswer:
    """Ask for a piece of music, a sound, a continuation, or something after a melody or a style."""
    return await asking.answer(*await submission.submit(asking.services, asking.who, body, key=asking.key))


@router.get("")
def list_generations(
    services: ServicesDep,
    who: GenerateCaller,
    limit: Annotated[int, Query(ge=1, le=100, description="How many.")] = 20,
    after: Annotated[
        str | None,
        Query(max_length=40, pattern=r"^gen_[0-9a-z]+$", description="The `next` of the page before."),
    ] = None,
    status: Annotated[list[Status] | None, Query(description="Only these states.")] = None,
    q: Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$", description="Words of the prompt.")] = "",
    group: Annotated[
        str,
        Query(alias="set", max_length=500, pattern=r"^[^\x00]*$", description="The `set` of their metadata."),
    ] = "",
) -> GenerationPage:
    """List your pieces, the newest first. `after` is the `next` of the page before."""
    found = services.store.newest(
        owner=who.owner, statuses=status or (), before=after, words=q, group=group, limit=limit + 1
    )
    page = [generation_of(job) for job in found[:limit]]
    return GenerationPage(data=page, next=found[limit - 1].id if len(found) > limit else None)


@router.get("/{job}")
async def get_generation(job: JobId, services: ServicesDep, who: GenerateCaller) -> GenerationAnswer:
    """How far a piece is."""
    return await run_query(services, _shown, services, job, who.owner)


@router.patch("/{job}")
def change_generation(
    job: JobId, body: MetadataBody, services: ServicesDep, who: GenerateCaller
) -> GenerationAnswer:
    """Give a piece a title or other words of your own; its audio and the request that made it stay as they are."""
    return shown(services, services.store.annotate(job, body.metadata, most=MOST_METADATA, owner=who.owner))


@router.post("/{job}/cancel")
def cancel_generation(job: JobId, services: ServicesDep, who: GenerateCaller) -> GenerationAnswer:
    """Stop a piece. One that has ended stays as it is, so this may be repeated."""
    return shown(services, submission.cancel(services, job, who.owner))


@router.delete("/{job}", status_code=204)
def delete_generation(job: JobId, services: ServicesDep, who: GenerateCaller) -> None:
    """Forget a piece and its audio; a running one stops."""
    submission.delete(services, job, who.owner)


def shown(services: Services, job: GenerationJob) -> GenerationAnswer:
    """Return a job as an answer, with its place in the queue and how far its webhook is."""
    found = generation_of(job, position=_position(services, job))
    if job.webhook_url is not None and (state := webhook_state(services.database, job.id)) is not None:
        facts = {**asdict(state), "next_at": moment(state.next_at) if state.next_at else None}
        found = found.model_copy(update={"webhook": WebhookFacts(**facts)})
    return found


def _shown(services: Services, job: str, owner: str) -> GenerationAnswer:
    return shown(services, services.store.get(job, owner=owner))


def _position(services: Services, job: GenerationJob) -> int | None:
    return services.store.position(job) if job.status == "queued" else None


def _wait_of(prefer: str | None) -> float:
    found = _WAIT.search(prefer or "")
    return float(found[1]) if found else 0.0
