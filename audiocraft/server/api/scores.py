"""What a request says of tempo and harmony: the plan that a continuation takes over from its audio, what is understood
of a request before anything is made, and plans on their way between requests, records and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any, get_args

from audiocraft.audio.marks import Marks
from audiocraft.checkpoints.facts import ModelFacts, vocabularies_of
from audiocraft.config.decode import decode
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.music import continuing
from audiocraft.music.continuing import going_on, where_new
from audiocraft.music.looping import whole_bars
from audiocraft.music.planning import ScoreSettings, make_plan, plans_over_time, progression_of
from audiocraft.music.timed_chords import plan_around
from audiocraft.music.understanding import Understanding, led_away, understand_sounds
from audiocraft.server.api.schemas import ChordBody, GenerationBody, Kind, PlanBody, SectionBody
from audiocraft.server.jobs.records import GenerationJob, JobNotFound
from audiocraft.server.jobs.store import JobStore
from audiocraft.types import Scene, SceneEvent, ScorePlan
from audiocraft.workflows.loop_marks import marks_of

_MOST_SECONDS = 3600.0


def own_piece(store: JobStore, job: str, owner: str, role: str = "audio") -> GenerationJob:
    """Return a finished piece that a request names in its body, in the field `role`."""
    try:
        found = store.get(job, owner=owner)
    except JobNotFound as error:
        raise InvalidInput(str(error), field=f"{role}.generation") from error
    if found.status != "succeeded" or not found.sample_rate:
        raise InvalidInput(
            f"{job} is {found.status}: only a finished piece can go on", field=f"{role}.generation"
        )
    return found


def plan_from_audio(store: JobStore, owner: str, body: GenerationBody) -> PlanBody | None:
    """Return the plan of a piece that goes on, or that keeps regions: what the request says outright, else that of
    one's own piece, which is known; other audio is listened to by the worker."""
    asked = body.plan
    if asked is not None and (asked.timed or asked.from_audio is False):
        return asked
    if body.audio is not None and body.audio.generation is not None:
        job = own_piece(store, body.audio.generation, owner)
        plan = _plan_at_end(job)
        if plan is not None:
            seconds = where_new(body.regions) if body.keep else job.samples / (job.sample_rate or 1)
            longer = going_on(plan, words_of(body), at=seconds, duration=body.duration, seed=body.seed or 0)
            return body_of_plan(longer)
    return (asked or PlanBody()).model_copy(update={"from_audio": True})


def words_of(body: GenerationBody) -> str:
    """Return what a body says of its music as one text, what it says outright before its prompt."""
    return ", ".join(part for part in (continuing.words_of(score_of(body)), body.prompt) if part)


def score_of(body: GenerationBody) -> ScoreSettings:
    """Return what a body says outright about tempo, key and chords, as far as that is not a whole plan. Raises
    InvalidInput where music cannot be so."""
    plan = body.plan
    if plan is None or plan.timed:
        return ScoreSettings()
    chords = tuple(chord for chord in plan.chords if isinstance(chord, str))
    try:
        return ScoreSettings(tempo=plan.tempo, key=plan.key, chords=chords, beats_per_bar=plan.beats_per_bar)
    except InvalidInput as error:
        raise InvalidInput(str(error), field=f"plan.{error.field}") from error


def understood_of(
    body: GenerationBody, facts: ModelFacts, models: Mapping[str, ModelFacts]
) -> dict[str, Any]:
    """Return what becomes of the words of a body whose seed is drawn: an `Understanding` as answers carry it.

    Args:
        facts: of the model that makes it.
        models: what could be suggested instead.
    """
    first, *later = schedule_of(body.sections) or ((0.0, ""),)
    text = ", ".join(part for part in (body.prompt, first[1]) if part)
    score, plan = score_of(body), plan_of_body(body)
    if plan is None and "plan" in facts.takes:
        plan = plan_around(text, body.timed_chords, duration=body.duration, seed=body.seed or 0, score=score)
    # Of a recording that goes on nobody knows the length here, so nobody knows when something happens behind it.
    kinds = None if body.kind == "continuation" else facts.sound_kinds
    found = understand_sounds(
        text, kinds, duration=body.duration, seed=body.seed, schedule=later, score=score, plan=plan,
        vocabulary=facts.vocabulary,
        others=vocabularies_of(other for other in models.values() if other is not facts),
    )  # fmt: skip
    found = led_away(found, body.negative, facts.vocabulary)
    if body.plan is not None and body.plan.from_audio:  # nobody knows before the worker has listened
        found = replace(found, tempo=None, beats_per_bar=None, key=None, chords=())
    return {**found.to_dict(), "line": found.line()}


def understood_as(document: Mapping[str, Any], plan: ScorePlan | None) -> dict[str, Any]:
    """Return what is understood of a request, as answers carry it, once the plan is known; None: there is none."""
    events = tuple(decode(SceneEvent, event) for event in document.get("scene") or ())
    found = Understanding(
        duration=document["duration"], seed=document["seed"], read_as=document.get("read_as") or "",
        scene=Scene(events=events, duration=document["duration"]) if events else None,
        denied=tuple(document.get("denied") or ()), changes=tuple(document.get("changes") or ()),
    )  # fmt: skip
    if plan is not None:
        found = replace(
            found,
            tempo=plan.tempo,
            beats_per_bar=plan.beats_per_bar,
            key=plan.key,
            chords=progression_of(plan),
        )
    known = {name: found.to_dict()[name] for name in ("tempo", "beats_per_bar", "key", "chords")}
    return {**document, **known, "line": found.line()}


def plan_of_body(body: GenerationBody) -> ScorePlan | None:
    """Return the whole plan that a body gives, or None where the model is to make one."""
    return None if body.plan is None else plan_of(body.plan, body.duration)


def plan_of(plan: PlanBody, duration: float) -> ScorePlan | None:
    """Return the whole plan of so many seconds that a request carries, or None where it is none."""
    if not plan.timed or plan.tempo is None:
        return None
    chords = tuple((chord.at, chord.chord) for chord in plan.chords if isinstance(chord, ChordBody))
    return ScorePlan(
        tempo=plan.tempo,
        key=plan.key,
        beats_per_bar=plan.beats_per_bar or 4,
        first_beat=plan.first_beat,
        chords=chords,
        duration=duration,
    )


def body_of_plan(plan: ScorePlan) -> PlanBody:
    """Return a plan as requests carry it."""
    chords = [ChordBody(at=time, chord=symbol) for time, symbol in plan.chords]
    return PlanBody(
        tempo=plan.tempo,
        key=plan.key,
        beats_per_bar=plan.beats_per_bar,
        first_beat=plan.first_beat,
        chords=chords,
    )


def with_loop(body: GenerationBody) -> GenerationBody:
    """Return a body whose seed is drawn; one that asks for a loop with the plan of its bars, and as long as they
    are."""
    if body.loop is None:
        return body
    plan = plan_of_body(body) or make_plan(
        body.prompt, duration=body.duration, seed=body.seed or 0, score=score_of(body)
    )
    if plan is None:
        raise InvalidInput(
            "nothing says what the loop should be: give words, a tempo or chords", field="prompt"
        )
    bars = whole_bars(plan, body.loop)
    if bars.duration > _MOST_SECONDS:
        raise InvalidInput(
            f"{body.loop} bars last {bars.duration:g} s, more than {_MOST_SECONDS:g}", field="loop"
        )
    return body.model_copy(update={"plan": body_of_plan(bars), "duration": bars.duration})


def marks_of_job(job: GenerationJob) -> Marks | None:
    """Return what the file of a finished loop says of itself; None for other pieces."""
    if job.kind not in get_args(Kind):
        document = (job.result or {}).get("plan") if job.request.get("edit") == "loop" else None
        return None if document is None else marks_of(decode(ScorePlan, document))
    body = GenerationBody.model_validate(dict(job.request)) if job.request.get("loop") else None
    plan = None if body is None else plan_of_body(body)
    return None if plan is None else marks_of(plan)


def schedule_of(sections: list[SectionBody]) -> tuple[tuple[float, str], ...]:
    """Return what holds from which second on."""
    starts = accumulate((section.duration_ms / 1000 for section in sections), initial=0.0)
    return tuple((start, section.text) for start, section in zip(starts, sections, strict=False))


def _plan_at_end(job: GenerationJob) -> ScorePlan | None:
    """Return the plan that holds at the end of a finished piece."""
    document = (job.result or {}).get("plan")
    if document is None:
        return None
    try:
        plan = decode(ScorePlan, document)
    except (ConfigError, InvalidInput):  # of another version
        return None
    pieces = job.kind in get_args(Kind)  # the plan of something of the studio is that of the whole
    sections = GenerationBody.model_validate(dict(job.request)).sections if pieces else []
    schedule = schedule_of(sections) or ((0.0, ""),)
    return plans_over_time(plan, schedule, duration=job.duration, seed=job.seed)[-1]
