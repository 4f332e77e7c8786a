"""Requests of the studio on their way into the store: checked against this server, and with everything decided."""

from __future__ import annotations

import secrets
from typing import Any

from audiocraft.errors import InvalidInput
from audiocraft.music.planning import ScoreSettings
from audiocraft.music.understanding import understand
from audiocraft.server.api.studio_bodies import SongBody, StudioBody, song_of_job
from audiocraft.server.catalogue import ModelFacts
from audiocraft.server.jobs.records import JobNotFound, NewJob
from audiocraft.server.security.keys import Principal
from audiocraft.server.services import Services
from audiocraft.workflows.studio.project import Song


def check(services: Services, who: Principal, body: StudioBody) -> ModelFacts:
    """Refuse, by its name, what this server or the model cannot honour -> the model of music."""
    assert isinstance(body, SongBody)
    facts = _with_plans(services, body.model)
    if body.effects:
        services.catalogue.choose(body.sound_model, "sound")
    seconds = _song(services, body, facts, 0).seconds
    most = services.config.request.duration
    if seconds > most:
        raise InvalidInput(f"a song may last {most:g} seconds here, not {seconds:.1f}", field="sections")
    if body.base is not None:
        _base_of(services, who, body.base)
    return facts


def check_length(body: StudioBody, seconds: float) -> None:
    """Refuse audio of so many seconds that is too short for what is to be done with it."""
    del body, seconds


def settled(services: Services, body: StudioBody, facts: ModelFacts, seconds: float) -> StudioBody:
    """The same with models, seed and all that is drawn with it decided.

    Args:
        seconds: of the audio that it names, together.
    """
    del seconds
    assert isinstance(body, SongBody)
    seed = secrets.randbits(31) if body.seed is None else body.seed
    return body.settled(_song(services, body, facts, seed))


def new_job(services: Services, owner: str, job: str, body: StudioBody, facts: ModelFacts) -> NewJob:
    """The job of a settled request."""
    assert isinstance(body, SongBody) and body.seed is not None
    request = body.model_dump(mode="json")
    song = song_of_job(request)
    return NewJob(
        id=job, owner=owner, kind=body.kind, model=facts.name, request=request, duration=song.seconds,
        prompt=" · ".join(f"{section.name}: {section.prompt}" for section in song.sections), seed=body.seed,
        priority=body.priority, webhook_url=body.webhook, understood=_understood(services, song, facts),
    )  # fmt: skip


def keep_parts(services: Services, who: Principal, body: StudioBody, job: str) -> None:
    """Give a job its own copy of the parts of the one that it is based on, which costs no space."""
    if isinstance(body, SongBody) and body.base is not None:
        services.blobs.use_parts(_base_of(services, who, body.base), job)


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


def _base_of(services: Services, who: Principal, base: str) -> str:
    try:
        found = services.store.get(base, owner=who.owner)
    except JobNotFound as error:
        raise InvalidInput(str(error), field="base") from error
    if found.kind != "song":
        raise InvalidInput(f"{base} is a {found.kind}, and a song is based on a song", field="base")
    return found.id


def _understood(services: Services, song: Song, facts: ModelFacts) -> dict[str, Any]:
    """What becomes of the words of all sections."""
    first, *later = (section.prompt for section in song.sections)
    score = ScoreSettings(
        tempo=song.tempo, key=song.key, chords=song.chords, beats_per_bar=song.beats_per_bar
    )
    models = services.catalogue.models()
    found = understand(
        first, duration=song.seconds, seed=song.seed, score=score, plan=song.plan(), later=later,
        vocabulary=facts.vocabulary,
        others={name: other.vocabulary for name, other in models.items() if other is not facts},
    )  # fmt: skip
    return {**found.to_dict(), "line": found.line()}
