"""From a request body to a job in the store; and canceling, deleting and awaiting jobs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable

from fastapi.concurrency import run_in_threadpool

from audiocraft.errors import InvalidInput, QueueFull
from audiocraft.server.api.deps import run_query
from audiocraft.server.api.schemas import NEEDS_AUDIO, AudioInput, GenerationBody
from audiocraft.server.api.scores import own_piece, plan_of_continuation, score_of, understood_of, with_loop
from audiocraft.server.catalogue import ModelFacts
from audiocraft.server.errors import Forbidden, ShuttingDown, is_disk_full
from audiocraft.server.jobs.database import DATABASE_ERRORS
from audiocraft.server.jobs.records import GenerationJob, NewJob, new_id
from audiocraft.server.jobs.uploads import INLINE, DecodedUpload
from audiocraft.server.jobs.webhooks import check_address
from audiocraft.server.security import sandbox
from audiocraft.server.security.keys import Principal
from audiocraft.server.services import Services

_audit = logging.getLogger("audiocraft.audit")

# How often a waiting request looks itself: news of other processes do not reach it.
_LOOK_SECONDS = 0.25
_MAX_KEY = 255


async def submit(
    services: Services, who: Principal, body: GenerationBody, *, key: str | None = None
) -> tuple[GenerationJob, bool]:
    """Check a request against this server and store it -> (job, whether it is new).

    Args:
        key: the request's idempotency key.
    """
    decoded: DecodedUpload | None = None
    if body.audio is not None and body.audio.data is not None:
        # What costs little is looked at first, and decoding waits for its turn: it is a process with a gigabyte.
        earlier = await run_in_threadpool(_find_or_check, services, who, body, key)
        if isinstance(earlier, GenerationJob):
            return earlier, False
        async with services.decoding.slot():
            decoded = await run_in_threadpool(_decoded, services, body.audio)
    return await run_in_threadpool(accept, services, who, body, key=key, decoded=decoded)


def accept(
    services: Services,
    who: Principal,
    body: GenerationBody,
    *,
    key: str | None = None,
    decoded: DecodedUpload | None = None,
) -> tuple[GenerationJob, bool]:
    """Store a request whose inline audio is decoded -> (job, whether it is new). It blocks, so it runs in a thread.

    Args:
        decoded: the audio that came inside the body.
    """
    facts = _find_or_check(services, who, body, key)
    if isinstance(facts, GenerationJob):
        return facts, False
    digest = digest_of(body)
    settled = with_loop(body.settled(model=facts.name))
    job = new_id("gen")
    settled = _keep_audio(services, who, settled, job, decoded)
    if body.kind == "continuation" and "plan" in facts.takes:
        settled = settled.model_copy(
            update={"plan": plan_of_continuation(services.store, who.owner, settled)}
        )
    new = NewJob(
        id=job, owner=who.owner, kind=body.kind, model=facts.name, request=settled.model_dump(mode="json"),
        prompt=body.prompt, duration=settled.duration, seed=settled.seed or 0, priority=body.priority,
        webhook_url=body.webhook, understood=understood_of(settled, facts, services.catalogue.models()),
    )  # fmt: skip
    try:
        stored, created = services.store.submit(new, quota=who.quota, key=key, digest=digest)
    except BaseException as error:
        services.blobs.delete_job(job)
        if isinstance(error, QueueFull):
            services.refusals.note(who.owner, error)
        raise
    if not created:
        services.blobs.delete_job(job)
        return stored, False
    if settled.audio is not None and settled.audio.upload is not None:
        services.uploads.note_use(settled.audio.upload)
    services.refusals.forget(who.owner)
    _audit_accepted(services, stored)
    if services.runner is not None:
        services.runner.wake()
    return stored, True


def _find_or_check(
    services: Services, who: Principal, body: GenerationBody, key: str | None
) -> GenerationJob | ModelFacts:
    """The job that the same request made before, else its model; raises what refuses the request."""
    if services.draining:
        raise ShuttingDown("the server is about to stop; try again in a moment", retry_after=5.0)
    if key is not None:
        if not (0 < len(key) <= _MAX_KEY and key.isprintable()):
            raise InvalidInput(
                f"an idempotency key has 1 to {_MAX_KEY} printable characters", field="Idempotency-Key"
            )
        earlier = services.store.earlier(who.owner, key, digest_of(body))
        if earlier is not None:
            return earlier
    return _check(services, who, body)


def _audit_accepted(services: Services, job: GenerationJob) -> None:
    """Write who asked for what into the audit log; the prompt only where the operator wants it."""
    words = {"prompt": job.prompt} if services.config.log_prompts else {}
    _audit.info(
        "accepted",
        extra={
            "generation": job.id, "owner": job.owner, "kind": job.kind, "model": job.model,
            "duration": job.duration, **words,
        },
    )  # fmt: skip


def digest_of(body: GenerationBody) -> str:
    """A digest that two requests share where they ask for the same."""
    text = json.dumps(body.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def cancel(services: Services, job: str, owner: str | None) -> GenerationJob:
    """End a job; its worker stops before its next step."""
    found = services.store.cancel(job, owner=owner)
    if services.runner is not None:
        services.runner.wake()
    return found


def delete(services: Services, job: str, owner: str | None) -> None:
    """Forget a job with its files; a running one stops."""
    try:
        services.store.delete(job, owner=owner)
    except DATABASE_ERRORS as error:
        if not is_disk_full(error):
            raise
        services.store.get(job, owner=owner)
        services.blobs.delete_job(job)  # makes the room that the database needs to forget it
        services.store.delete(job, owner=owner)
    if services.runner is not None:
        services.runner.wake()
    services.blobs.delete_job(job)


async def wait_until_finished(
    services: Services,
    job: GenerationJob,
    seconds: float,
    *,
    gone: Callable[[], Awaitable[bool]] | None = None,
) -> GenerationJob:
    """Wait until `job` has ended, for at most `seconds` -> the job as it is then.

    Args:
        gone: asked whether the client has left, which ends the wait too.
    """
    deadline = time.monotonic() + seconds
    while not job.finished and (left := deadline - time.monotonic()) > 0:
        await services.notifier.wait(job.id, min(_LOOK_SECONDS, left))
        if gone is not None and await gone():
            break
        job = await run_query(services, services.store.get, job.id)
    return job


def _check(services: Services, who: Principal, body: GenerationBody) -> ModelFacts:
    """Refuse, by its name, what this server or the model cannot honour -> the model."""
    limits = services.config.request
    if body.priority and "admin" not in who.scopes:
        raise Forbidden("to go before others, a key needs the scope 'admin'", field="priority")
    if body.duration > limits.duration:
        raise InvalidInput(
            f"a piece may last {limits.duration:g} seconds here, not {body.duration:g}", field="duration"
        )
    facts = services.catalogue.choose(body.model, "sound" if body.kind == "sound" else "music")
    if body.decoder is not None:
        services.catalogue.decoder(body.decoder)
    if body.kind in NEEDS_AUDIO and body.kind not in facts.takes and facts.family is not None:
        raise InvalidInput(f"model {facts.name!r} cannot follow a {body.kind}", field="kind")
    if body.chords and "chords" not in facts.takes:
        raise InvalidInput(f"model {facts.name!r} takes no chords at their times", field="chords")
    if body.plan is not None and "plan" not in facts.takes:
        raise InvalidInput(f"model {facts.name!r} takes no plan", field="plan")
    score_of(body)
    if body.guidance_beta is not None and not facts.takes & {"melody", "style"}:
        raise InvalidInput(
            f"model {facts.name!r} has nothing for guidance_beta to weigh", field="guidance_beta"
        )
    if body.webhook is not None:
        check_address(body.webhook, services.config.webhook)
    if body.audio is not None:
        _check_audio(services, who, body, body.audio)
    services.need_room()
    return facts


def _check_audio(services: Services, who: Principal, body: GenerationBody, audio: AudioInput) -> None:
    """Refuse audio that is not there, and a continuation that would end before its audio does."""
    if audio.upload is not None:
        seconds = services.uploads.wanted(audio.upload, who.owner).seconds
    elif audio.generation is not None:
        job = own_piece(services.store, audio.generation, who.owner)
        seconds = job.samples / (job.sample_rate or 1)
    else:
        return  # it is decoded later
    _check_length(body, seconds)


def _check_length(body: GenerationBody, seconds: float) -> None:
    if body.kind == "continuation" and body.duration <= seconds:
        raise InvalidInput(
            f"a continuation of {seconds:g} s of audio must be longer than that: the duration {body.duration:g} "
            "includes the audio",
            field="duration",
        )


def _keep_audio(
    services: Services, who: Principal, body: GenerationBody, job: str, decoded: DecodedUpload | None
) -> GenerationBody:
    """Put the audio that a body refers to beside the job -> the body, naming an upload where it held bytes."""
    if body.audio is None:
        return body
    if body.audio.generation is not None:
        services.blobs.use_audio(own_piece(services.store, body.audio.generation, who.owner), job)
        return body
    upload = body.audio.upload
    if upload is None:
        assert decoded is not None
        _check_length(body, decoded.wav.shape[-1] / decoded.sample_rate)
        upload = services.uploads.keep(who.owner, INLINE, decoded).id
        body = body.model_copy(update={"audio": AudioInput(upload=upload)})
    else:
        services.uploads.wanted(upload, who.owner)
    services.blobs.use_upload(upload, job)
    return body


def _decoded(services: Services, audio: AudioInput) -> DecodedUpload:
    try:
        content = base64.b64decode(audio.data or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("audio.data is not base64", field="audio.data") from error
    return sandbox.decode(content, services.config.upload, field="audio.data")
