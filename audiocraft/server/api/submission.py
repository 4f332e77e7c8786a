"""From a request body to a job in the store; and canceling, deleting and awaiting jobs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from fastapi.concurrency import run_in_threadpool

from audiocraft.config.settings import check_flow
from audiocraft.errors import InvalidInput, QueueFull
from audiocraft.music.reading import read
from audiocraft.server.api import studio_intake
from audiocraft.server.api.coded import acx_reader
from audiocraft.server.api.deps import run_query
from audiocraft.server.api.schemas import NEEDS_AUDIO, AudioInput, GenerationBody
from audiocraft.server.api.scores import own_piece, plan_from_audio, score_of, understood_of, with_loop
from audiocraft.server.api.spelling import check_moments
from audiocraft.server.api.studio_bodies import StudioBody
from audiocraft.server.catalogue import Catalogue, ModelFacts
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

AnyBody = GenerationBody | StudioBody
Body = TypeVar("Body", GenerationBody, StudioBody)


async def submit(
    services: Services, who: Principal, body: AnyBody, *, key: str | None = None
) -> tuple[GenerationJob, bool]:
    """Check a request against this server and store it -> (job, whether it is new). What was refused a moment ago, for
    want of room, is refused again at once.

    Args:
        key: the request's idempotency key.
    """
    if key is None:  # with a key it may be one that is known already
        services.refusals.check(who.owner)
    decoded: dict[str, DecodedUpload] = {}
    inline = {role: audio for role, audio in body.inputs.items() if audio.data is not None}
    if inline:
        # What costs little is looked at first, and decoding waits for its turn: it is a process with a gigabyte.
        earlier = await run_in_threadpool(_find_or_check, services, who, body, key)
        if isinstance(earlier, GenerationJob):
            return earlier, False
        for role, audio in inline.items():
            async with services.decoding.slot():
                decoded[role] = await run_in_threadpool(_decoded, services, audio, role)
    return await run_in_threadpool(accept, services, who, body, key=key, decoded=decoded)


def accept(
    services: Services,
    who: Principal,
    body: AnyBody,
    *,
    key: str | None = None,
    decoded: Mapping[str, DecodedUpload] = MappingProxyType({}),
) -> tuple[GenerationJob, bool]:
    """Store a request whose inline audio is decoded -> (job, whether it is new). It blocks, so it runs in a thread.

    Args:
        decoded: the audio that came inside the body, by its field.
    """
    facts = _find_or_check(services, who, body, key)
    if isinstance(facts, GenerationJob):
        return facts, False
    digest = digest_of(body)
    job = new_id("gen")
    settled: AnyBody
    try:
        if isinstance(body, StudioBody):
            settled, new = _settled_studio(services, who, body, facts, job, decoded)
        else:
            settled, new = _settled_piece(services, who, body, facts, job, decoded)
        stored, created = services.store.submit(new, quota=who.quota, key=key, digest=digest)
    except BaseException as error:
        services.blobs.delete_job(job)
        if isinstance(error, QueueFull):
            services.refusals.note(who.owner, error)
        raise
    if not created:
        services.blobs.delete_job(job)
        return stored, False
    for audio in settled.inputs.values():
        if audio.upload is not None:
            services.uploads.note_use(audio.upload)
    services.refusals.forget(who.owner)
    _audit_accepted(services, stored)
    if services.runner is not None:
        services.runner.wake()
    return stored, True


def _settled_piece(
    services: Services,
    who: Principal,
    body: GenerationBody,
    facts: ModelFacts,
    job: str,
    decoded: Mapping[str, DecodedUpload],
) -> tuple[GenerationBody, NewJob]:
    """Return a piece with everything decided, its audio beside it, and its job."""
    if body.as_long_as_its_audio:
        body = _as_long_as_its_audio(services, who, body, decoded)
    settled = with_loop(body.settled(model=facts.name))
    settled = _keep_audio(services, who, settled, job, decoded, whole=bool(body.keep))
    if (body.kind == "continuation" or body.keep) and "plan" in facts.takes:
        settled = settled.model_copy(update={"plan": plan_from_audio(services.store, who.owner, settled)})
    new = NewJob(
        id=job, owner=who.owner, kind=body.kind, model=facts.name, request=settled.model_dump(mode="json"),
        prompt=body.prompt, duration=settled.duration, seed=settled.seed or 0, priority=body.priority,
        webhook_url=body.webhook, understood=understood_of(settled, facts, services.catalogue.models()),
        counted=settled.duration * settled.most_takes,
    )  # fmt: skip
    return settled, new


def _as_long_as_its_audio(
    services: Services, who: Principal, body: GenerationBody, decoded: Mapping[str, DecodedUpload]
) -> GenerationBody:
    """Return a piece that keeps regions, as long as the audio that they are of."""
    assert body.audio is not None
    seconds = _seconds_of(services, who, body.audio, decoded.get("audio"), "audio")
    most = services.config.request.duration
    if seconds > most:
        raise InvalidInput(
            f"a piece may last {most:g} seconds here, not {seconds:g}: say a duration", field="duration"
        )
    try:
        check_moments(body, seconds)
    except ValueError as error:
        raise InvalidInput(str(error), field=str(error).partition(":")[0]) from error
    return body.model_copy(update={"duration": seconds})


def _settled_studio(
    services: Services,
    who: Principal,
    body: StudioBody,
    facts: ModelFacts,
    job: str,
    decoded: Mapping[str, DecodedUpload],
) -> tuple[StudioBody, NewJob]:
    """Return the same of something of the studio."""
    seconds = sum(
        _seconds_of(services, who, audio, decoded.get(role), role) for role, audio in body.inputs.items()
    )
    settled = studio_intake.settled(services, who, body, facts)
    settled = _keep_audio(services, who, settled, job, decoded, whole=True)
    new = studio_intake.new_job(services, who.owner, job, settled, facts, seconds)
    studio_intake.keep_parts(services, who, settled, job)
    return settled, new


def _find_or_check(
    services: Services, who: Principal, body: AnyBody, key: str | None
) -> GenerationJob | ModelFacts:
    """Return the job that the same request made before, else its model; raises what refuses the request."""
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


def digest_of(body: AnyBody) -> str:
    """Return a digest that two requests share where they ask for the same."""
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


def _check(services: Services, who: Principal, body: AnyBody) -> ModelFacts:
    """Refuse, by its name, what this server or the model cannot honour -> the model."""
    if body.priority and "admin" not in who.scopes:
        raise Forbidden("to go before others, a key needs the scope 'admin'", field="priority")
    if isinstance(body, GenerationBody):
        facts = _check_piece(services, body)
    else:
        facts = studio_intake.check(services, who, body)
    if body.webhook is not None:
        check_address(body.webhook, services.config.webhook)
    for role, audio in body.inputs.items():
        _check_audio(services, who, body, audio, role)
    services.need_room()
    return facts


def _check_piece(services: Services, body: GenerationBody) -> ModelFacts:
    """Refuse what no piece, or none of this model, can be -> the model."""
    limits = services.config.request
    if body.duration > limits.duration:
        raise InvalidInput(
            f"a piece may last {limits.duration:g} seconds here, not {body.duration:g}", field="duration"
        )
    facts = _model_of(services.catalogue, body)
    if body.decoder is not None:
        services.catalogue.decoder(body.decoder)
    if body.kind in NEEDS_AUDIO and body.kind not in facts.takes and facts.family is not None:
        try:
            facts.check_takes(body.kind)
        except InvalidInput as error:
            raise InvalidInput(str(error), field="kind") from error
    _check_followed(body, facts)
    if body.plan is not None and "plan" not in facts.takes:
        _check_bars(body, facts)
    score_of(body)
    if body.guidance_beta is not None and not facts.takes & {"melody", "style"}:
        raise InvalidInput(
            f"model {facts.name!r} has nothing for guidance_beta to weigh", field="guidance_beta"
        )
    facts.check_settings(body.settings)
    check_flow(body.settings)
    if body.rescorer is not None:
        services.catalogue.rescorer(body.rescorer)
    return facts


def _check_bars(body: GenerationBody, facts: ModelFacts) -> None:
    """Refuse a plan of a model that takes none, but for the bars of chords that it follows."""
    plan = body.plan
    if (
        plan is None
        or "chords" not in facts.takes
        or not plan.chords
        or plan.timed
        or plan.key
        or plan.from_audio
    ):
        said = (
            "no plan, so no tempo, key or chords beside its prompt: say them there, and leave out plan, bpm and chords"
            if "chords" not in facts.takes
            else "no plan but chords in bars, with their tempo and metre"
        )
        raise InvalidInput(f"model {facts.name!r} takes {said}", field="plan")
    if plan.tempo is None and read(body.prompt).tempo is None:
        raise InvalidInput(
            "chords in bars need a tempo: say bpm, or when each of them begins, as in 'C:0 Am:2.5'",
            field="chords",
        )


def _model_of(catalogue: Catalogue, body: GenerationBody) -> ModelFacts:
    """Return the model that a request names, or that its first adapter is for, or the server's; adapters of other
    models are refused."""
    name = body.model
    if name is None and body.adapters:
        base = catalogue.base_of(catalogue.adapters.get(body.adapters[0].name))
        name = None if base is None else base.name
    facts = catalogue.choose(name, "sound" if body.kind == "sound" else "music")
    if name is not None:
        _check_makes(catalogue, body, facts)
    for one in body.adapters:
        catalogue.check_adapter(one.name, facts)
    return facts


def _check_makes(catalogue: Catalogue, body: GenerationBody, facts: ModelFacts) -> None:
    """Refuse a kind that was said, beside a model that is known to make the other one."""
    if "kind" not in body.model_fields_set or {body.kind, facts.makes} != {"music", "sound"}:
        return
    can = [one.name for one in catalogue.models().values() if one.makes == body.kind]
    if can:  # else what there is makes it as well as it can
        raise InvalidInput(
            f"model {facts.name!r} makes {facts.makes}, not {body.kind}: leave out kind, or take a model such as "
            f"{can[0]}",
            field="kind",
        )


def _check_followed(body: GenerationBody, facts: ModelFacts) -> None:
    """Refuse what is to be followed moment by moment, or kept, by a model that cannot."""
    if body.chords:
        facts.check_takes("chords")
        if body.plan is not None and body.plan.chords and "plan" in facts.takes:
            raise InvalidInput(
                "there are both Chords (plan.chords) and Chords at their times (chords); leave one of them out",
                field="chords",
            )
    if facts.family is None:  # nobody knows before it is fetched
        return
    if body.keep and "keep" not in facts.takes:
        raise InvalidInput(
            f"model {facts.name!r} makes pieces from their start to their end: it cannot keep regions and make the "
            "rest anew, as MAGNeT and JASCO can, such as magnet-nano",
            field="keep",
        )
    if body.drums is not None and "drums" not in facts.takes:
        raise InvalidInput(
            f"model {facts.name!r} follows no drums; JASCO does, such as jasco-nano", field="drums"
        )
    if (body.tune is not None or body.notes) and ("melody" not in facts.takes or "chords" not in facts.takes):
        raise InvalidInput(
            f"model {facts.name!r} follows no notes one by one; JASCO with melody does, such as jasco-nano",
            field="tune" if body.tune is not None else "notes",
        )


def _check_audio(services: Services, who: Principal, body: AnyBody, audio: AudioInput, role: str) -> None:
    """Refuse audio that is not there or too short, and a continuation that would end before its audio does."""
    if audio.data is None:  # else it is decoded later
        _check_length(services, body, _seconds_of(services, who, audio, None, role), role)


def _seconds_of(
    services: Services, who: Principal, audio: AudioInput, decoded: DecodedUpload | None, role: str
) -> float:
    """Return how long the audio is that a field names, or that came inside it."""
    if audio.upload is not None:
        return services.uploads.wanted(audio.upload, who.owner, role).seconds
    if audio.generation is not None:
        job = own_piece(services.store, audio.generation, who.owner, role)
        return job.samples / (job.sample_rate or 1)
    return 0.0 if decoded is None else decoded.wav.shape[-1] / decoded.sample_rate


def _check_length(services: Services, body: AnyBody, seconds: float, role: str) -> None:
    if isinstance(body, StudioBody):
        studio_intake.check_length(services, body, seconds)
        return
    if role != "audio":
        return
    if body.kind == "continuation" and body.duration <= seconds:
        raise InvalidInput(
            f"a continuation of {seconds:g} s of audio must be longer than that: the duration {body.duration:g} "
            "includes the audio",
            field="duration",
        )
    if body.keep and body.keep[-1].end > seconds + 1e-6:
        start, end = body.regions[-1]
        raise InvalidInput(
            f"the region {start:g}-{end:g} s is not inside the audio of {seconds:g} s", field="keep"
        )


def _keep_audio(
    services: Services,
    who: Principal,
    body: Body,
    job: str,
    decoded: Mapping[str, DecodedUpload],
    *,
    whole: bool,
) -> Body:
    """Put the audio that a body refers to beside the job -> the body, naming uploads where it held bytes.

    Args:
        whole: the end of one's own piece stays, however it fades.
    """
    for role, audio in body.inputs.items():
        if audio.generation is not None:
            piece = own_piece(services.store, audio.generation, who.owner, role)
            services.blobs.use_audio(piece, job, role, whole=whole or role != "audio")
            continue
        upload = audio.upload
        if upload is None:
            found = decoded[role]
            _check_length(services, body, found.wav.shape[-1] / found.sample_rate, role)
            upload = services.uploads.keep(who.owner, INLINE, found).id
            body = body.model_copy(update={role: AudioInput(upload=upload)})
        else:
            services.uploads.wanted(upload, who.owner, role)
        services.blobs.use_upload(upload, job, role)
    return body


def _decoded(services: Services, audio: AudioInput, role: str) -> DecodedUpload:
    field = f"{role}.data"
    try:
        content = base64.b64decode(audio.data or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{field} is not base64", field=field) from error
    return sandbox.decode(content, services.config.upload, field=field, read_coded=acx_reader(services))
