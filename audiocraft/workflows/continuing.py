"""A file that goes on in the tempo, key and bars that it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audiocraft.analysis.hearing import heard_plan, stays_home
from audiocraft.audio.files import audio_info
from audiocraft.checkpoints.facts import find_facts
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.music.continuing import going_on, homeward, words_of
from audiocraft.music.planning import ScoreSettings, plans_over_time
from audiocraft.types import ScorePlan
from audiocraft.workflows.render import read_recipe, sidecar_of

_SAME_S = 0.05  # a file that is this much longer or shorter than its sidecar says was changed since


def keep_plan(request: GenerationRequest, path: Path, *, model: str) -> GenerationRequest:
    """`request`, which continues the audio file at `path`, in the plan of that file: known from its sidecar where it is
    a piece of ours, else heard. What the prompt or the score settings name changes where the new part begins. Models
    that take no plans go on as they do."""
    facts = find_facts(model)
    if (
        facts is None
        or "plan" not in facts.takes
        or request.prompt_audio is None
        or request.plans is not None
    ):
        return request
    assert request.prompt_sample_rate is not None
    audio = request.prompt_audio[0]
    known = known_plan(path)
    plan = known or heard_plan(audio, request.prompt_sample_rate)
    if plan is None:
        return request
    seconds, said = audio.shape[-1] / request.prompt_sample_rate, words_of(request.score)
    seeds = request.seeds or (0,) * len(request.prompts)
    plans = []
    for row, seed in enumerate(seeds):
        text = ", ".join(part for part in (said, request.prompt_at(row, 0.0)) if part)
        stays = stays_home(plan, at=seconds, duration=request.duration)
        text = text if known else homeward(plan, text, stays=stays)
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
