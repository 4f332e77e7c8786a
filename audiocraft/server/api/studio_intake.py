"""Requests of the studio on their way into the store: checked against this server, and with everything decided."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from audiocraft.checkpoints.facts import vocabularies_of
from audiocraft.config.decode import decode
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.music.reading import read
from audiocraft.music.translating import translate
from audiocraft.music.understanding import understand
from audiocraft.server.api.edit_bodies import EditBody
from audiocraft.server.api.production_bodies import BankBody, PodcastBody
from audiocraft.server.api.schemas import PlanBody
from audiocraft.server.api.scores import body_of_plan, own_piece, plan_of
from audiocraft.server.api.studio_bodies import SongBody, StudioBody, song_of_job
from audiocraft.server.catalogue import ModelFacts
from audiocraft.server.jobs.records import GenerationJob, JobNotFound, NewJob
from audiocraft.server.security.keys import Principal
from audiocraft.server.services import Services
from audiocraft.types import ScorePlan
from audiocraft.workflows.studio.project import Song
from audiocraft.workflows.studio.understood import understood_song

_PREVIEW_SECONDS = 60.0


def check(services: Services, who: Principal, body: StudioBody) -> ModelFacts:
    """Refuse, by its name, what this server or the model cannot honour -> the model of music."""
    match body:
        case SongBody():
            return _check_song(services, who, body)
        case EditBody():
            facts = _with_plans(services, body.model)
            if "continuation" not in facts.takes and body.edit in ("redo", "extend", "end"):
                raise InvalidInput(f"model {facts.name!r} cannot go on from audio", field="model")
            return facts
        case BankBody():
            if body.places:
                services.catalogue.choose(body.sound_model, "sound")
            return _with_plans(services, body.model)
        case PodcastBody():
            return services.catalogue.choose(body.model, "music")
        case _:
            raise AssertionError(f"nobody makes a {type(body).__name__}")


def check_length(services: Services, body: StudioBody, seconds: float) -> None:
    """Refuse audio of so many seconds that does not suit what is to be done with it."""
    if isinstance(body, EditBody):
        most = services.config.request.duration
        if seconds > most:
            raise InvalidInput(f"a piece may last {most:g} seconds here, not {seconds:.1f}", field="audio")
        if body.region is not None and body.region.end > seconds + 1e-6:
            raise InvalidInput(
                f"the region {body.region.start:g}-{body.region.end:g} s is not inside the {seconds:g} s of the piece",
                field="region",
            )
    if isinstance(body, PodcastBody) and body.chapters and body.chapters[-1].start >= seconds:
        last = body.chapters[-1]
        raise InvalidInput(
            f"chapter {last.title!r} begins at {last.start:g} s, but the voice ends at {seconds:.1f} s",
            field="chapters",
        )


def settled(services: Services, who: Principal, body: StudioBody, facts: ModelFacts) -> StudioBody:
    """Return the same with models, seed and all that is drawn with it decided, so that a second attempt makes the
    same."""
    if isinstance(body, SongBody):
        body = _with_base(services, who, body)
    seed = secrets.randbits(31) if getattr(body, "seed", None) is None else body.seed  # type: ignore[attr-defined]
    match body:
        case SongBody():
            return body.settled(_song(services, body, facts, seed))
        case EditBody():
            source = _source(services, who, body)
            known = (
                {}
                if source is None
                else {"prompt": body.prompt or source.prompt, "plan": _plan(body, source)}
            )
            return body.model_copy(update={"model": facts.name, "seed": seed, **known})
        case BankBody():
            sound = services.catalogue.choose(body.sound_model, "sound") if body.places else facts
            return body.model_copy(update={"model": facts.name, "sound_model": sound.name, "seed": seed})
        case _:
            return body.model_copy(update={"model": facts.name, "seed": seed})


def new_job(
    services: Services, owner: str, job: str, body: StudioBody, facts: ModelFacts, seconds: float
) -> NewJob:
    """Return the job of a settled request.

    Args:
        seconds: of the audio that it names.
    """
    request = body.model_dump(mode="json")
    understood: dict[str, Any] | None = None
    match body:
        case SongBody():
            song = song_of_job(request)
            prompt = " · ".join(f"{section.name}: {section.prompt}" for section in song.sections)
            duration, understood = song.seconds, _understood(services, song, facts)
        case EditBody():
            prompt, duration = body.prompt, seconds
            understood = _understood_edit(services, body, facts, seconds)
        case PodcastBody():
            prompt, duration = body.theme, seconds + body.intro + body.outro
        case BankBody():
            prompt = ", ".join(part for part in (body.prompt, *body.locations) if part)
            duration = _PREVIEW_SECONDS * len(body.locations) + body.ambience_seconds * len(body.places)
        case _:
            raise AssertionError(f"nobody makes a {type(body).__name__}")
    return NewJob(
        id=job, owner=owner, kind=str(request["kind"]), model=facts.name, request=request, duration=duration,
        prompt=prompt, seed=int(request["seed"]), priority=body.priority, webhook_url=body.webhook,
        understood=understood,
    )  # fmt: skip


def keep_parts(services: Services, who: Principal, body: StudioBody, job: str) -> None:
    """Give a job its own copy of the parts of the one that it is based on, which costs no space."""
    if isinstance(body, SongBody) and body.base is not None:
        services.blobs.use_parts(_base_of(services, who, body.base).id, job)


def _check_song(services: Services, who: Principal, body: SongBody) -> ModelFacts:
    body = _with_base(services, who, body)
    facts = _with_plans(services, body.model)
    if body.effects:
        services.catalogue.choose(body.sound_model, "sound")
    seconds = _song(services, body, facts, 0).seconds
    most = services.config.request.duration
    if seconds > most:
        raise InvalidInput(f"a song may last {most:g} seconds here, not {seconds:.1f}", field="sections")
    return facts


def _with_base(services: Services, who: Principal, body: SongBody) -> SongBody:
    """Return a song that says nothing of what its base has decided as that has it, so that what is the same stays."""
    if body.base is None:
        return body
    request = _base_of(services, who, body.base).request
    told = [read(translate(section.prompt).text) for section in body.sections]
    left_out = ["seed", "model", "sound_model"]
    left_out += [
        name for name in ("tempo", "beats_per_bar") if all(getattr(words, name) is None for words in told)
    ]
    if not (body.key or body.chords or any(words.key or words.chords for words in told)):
        left_out += ["key", "chords"]  # chords belong to their key
    return body.model_copy(
        update={
            name: request[name]
            for name in left_out
            if name not in body.model_fields_set and request.get(name) is not None
        }
    )


def _with_plans(services: Services, name: str | None) -> ModelFacts:
    facts = services.catalogue.choose(name, "music")
    if "plan" not in facts.takes:
        raise InvalidInput(
            f"model {facts.name!r} is told no tempo, bars and chords, so its parts would not fit together",
            field="model",
        )
    return facts


def _song(services: Services, body: SongBody, facts: ModelFacts, seed: int) -> Song:
    sound = services.catalogue.choose(body.sound_model, "sound") if body.effects else facts
    return body.song(model=facts.name, sound_model=sound.name, seed=seed if body.seed is None else body.seed)


def _base_of(services: Services, who: Principal, base: str) -> GenerationJob:
    try:
        found = services.store.get(base, owner=who.owner)
    except JobNotFound as error:
        raise InvalidInput(str(error), field="base") from error
    if found.kind != "song":
        raise InvalidInput(f"{base} is a {found.kind}, and a song is based on a song", field="base")
    return found


def _source(services: Services, who: Principal, body: EditBody) -> GenerationJob | None:
    """Return the piece of this server that is edited; None: an upload is."""
    if body.audio.generation is None:
        return None
    return own_piece(services.store, body.audio.generation, who.owner)


def _plan(body: EditBody, source: GenerationJob) -> PlanBody | None:
    """Return what is said of the plan, else what is known of the piece's."""
    if body.plan is not None or body.tempo is not None:
        return body.plan
    document = (source.result or {}).get("plan")
    if document is None:
        return None
    try:
        plan = decode(ScorePlan, document)
    except (ConfigError, InvalidInput):  # of another version
        return None
    return body_of_plan(plan) if plan.chords else None


def _understood(services: Services, song: Song, facts: ModelFacts) -> dict[str, Any]:
    """Return what becomes of the words of all sections."""
    models = services.catalogue.models()
    found = understood_song(song, facts, models.get(song.sound_model), vocabularies_of(models.values()))
    return {**found.to_dict(), "line": found.line()}


def _understood_edit(services: Services, body: EditBody, facts: ModelFacts, seconds: float) -> dict[str, Any]:
    """Return what becomes of the words of an edit; how long it is, and its plan where that is heard, is known later."""
    words = "" if body.edit == "loop" else body.prompt  # a loop is cut out: nothing is made of words
    known = None if body.plan is None else plan_of(body.plan, seconds)
    # Of a plan that is heard later the words are read all the same, as what they say of tempo and key.
    plan = known or make_plan(words, duration=seconds, seed=0, score=ScoreSettings(tempo=body.tempo))
    others = {name: other for name, other in services.catalogue.models().items() if name != facts.name}
    found = understand(
        words, duration=seconds, seed=body.seed, plan=plan, vocabulary=facts.vocabulary,
        others=vocabularies_of(others.values()),
    )  # fmt: skip
    if known is None:
        found = replace(found, tempo=None, beats_per_bar=None, key=None, chords=())
    return {**found.to_dict(), "line": found.line()}
