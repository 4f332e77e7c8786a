"""A file that goes on, or of which a part is made anew, in the tempo, key and bars that it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audiocraft.analysis.hearing import heard_plan, stays_home
from audiocraft.audio.files import audio_info
from audiocraft.checkpoints.facts import find_facts
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.music.continuing import going_on, homeward, where_new, words_of
from audiocraft.music.planning import ScoreSettings, plans_over_time
from audiocraft.types import ScorePlan
from audiocraft.workflows.render import read_recipe, sidecar_of

_SAME_S = 0.05  # a file that is this much longer or shorter than its sidecar says was changed since


def keep_plan(request: GenerationRequest, path: Path, *, model: str) -> GenerationRequest:
    """Return `request`, which continues the audio file at `path` or keeps regions of it, in the plan of that file:
    known from its sidecar where it is a piece of ours, else heard. What the prompt or the score settings name changes
    where the new part begins. Models that take no plans go on as they do."""
    facts = find_facts(model)
    kept = request.audio is not None
    wavs, rate = (
        (request.audio, request.audio_sample_rate)
        if kept
        else (request.prompt_audio, request.prompt_sample_rate)
    )
    if facts is None or "plan" not in facts.takes or wavs is None or request.plans is not None:
        return request
    assert rate is not None
    audio = wavs[0]
    known = known_plan(path)
    plan = known or heard_plan(audio, rate)
    if plan is None:
        return request
    seconds = where_new(request.keep) if kept else audio.shape[-1] / rate
    said = words_of(request.score)
    seeds = request.seeds or (0,) * len(request.prompts)
    plans = []
    for row, seed in enumerate(seeds):
        text = ", ".join(part for part in (said, request.prompt_at(row, 0.0)) if part)
        stays = stays_home(plan, at=seconds, duration=request.duration)
        # Between what is kept, the chords are those that were there.
        text = text if known or kept else homeward(plan, text, stays=stays)
        plans.append(going_on(plan, text, at=seconds, duration=request.duration, seed=seed))
    return replace(request, plans=tuple(plans), score=ScoreSettings())


def known_plan(path: Path) -> ScorePlan | None:
    """Return the plan at the end of a piece of ours, from the sidecar beside it."""
    if not sidecar_of(path).is_file():
        return None
    try:
        recipe = read_recipe(path)
    except InvalidInput:  # a file of somebody else's, or of another version
        return None
    if recipe.plan is None or abs(audio_info(path).duration - recipe.duration) > _SAME_S:
        return None
    schedule = recipe.schedule or ((0.0, ""),)
    return plans_over_time(recipe.plan, schedule, duration=recipe.duration, seed=recipe.seed)[-1]
