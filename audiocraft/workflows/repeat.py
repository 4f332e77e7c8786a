"""A file that was made, once more: the same, or with something changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from audiocraft.config.decode import encode
from audiocraft.config.settings import PLACES, TOKENS
from audiocraft.errors import InvalidInput
from audiocraft.generation.looping import as_loop
from audiocraft.generation.request import FlowSettings, GenerationRequest, MaskedSettings, Sampling
from audiocraft.music.looping import bars_in
from audiocraft.music.planning import ScoreSettings, lasting, make_plan, progression_of
from audiocraft.types import ScorePlan, StyleSettings
from audiocraft.workflows.render import Recipe

# Where a change belongs that is no field of the recipe itself.
_PARTS: Mapping[str, tuple[str, str]] = {
    **PLACES,
    "stride": ("window", "stride"),
    "level_anchor": ("window", "level_anchor"),
}
_SCORE = ("tempo", "key", "chords")
CHANGEABLE = frozenset(
    {
        *_PARTS,
        *_SCORE,
        "prompt",
        "seed",
        "duration",
        "schedule",
        "decoder",
        "style_detail",
        "ending",
        "negative",
    }
)
"""What may be another in a repetition."""


def varied(
    recipe: Recipe,
    changes: Mapping[str, Any],
    *,
    plans: bool = True,
    scenes: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> tuple[GenerationRequest, dict[str, Any]]:
    """Return the request that makes the file of `recipe` again, but for `changes`; and for each change, what it was
    before.

    Tempo, key and chords stay, also in a longer piece or with another seed, unless they or the words are changed.

    Args:
        changes: see `CHANGEABLE`; chords are a tuple of symbols.
        plans: whether the model takes plans, where that is known.
        scenes: whether it is told the same kinds of sound as the file's.
        settings: what another model than the file's has of settings; what it has not is left out, and what suits
            models that predict one code after the other is not taken for something that was said.
    """
    words = "prompt" in changes or "schedule" in changes
    before = {name: _value(recipe, name) for name in changes}
    changed = recipe if settings is None else _for_model(recipe, settings)
    same = scenes and not words and changes.get("duration", recipe.duration) == recipe.duration
    changed = replace(changed, scene=recipe.scene if same else None)
    changed = _with_parts(changed, {name: value for name, value in changes.items() if name in _PARTS})
    for name, value in changes.items():
        if name in _PARTS:
            continue
        if name == "style_detail":
            if recipe.reference is None or recipe.reference.role != "style":
                raise InvalidInput(
                    "the file imitates no style, so it has no style detail", field="style_detail"
                )
            changed = replace(changed, style=replace(recipe.style or StyleSettings(), eval_q=value))
        elif name not in _SCORE:
            changed = replace(changed, **{name: value})
    score = ScoreSettings(**{name: changes[name] for name in _SCORE if name in changes})
    # Chords at their times are others than those that are asked for now, or would come at other places in the bar.
    if score.chords or (score.given and plans and recipe.plan is not None):
        changed = replace(changed, chords=())
    if not plans:
        changed, plan = replace(changed, plan=None), None
    else:
        plan = None if words or recipe.plan is None else _plan(recipe, recipe.plan, changed, score)
        changed = replace(changed, plan=plan)
    request = changed.request()
    if plan is None:
        request = replace(request, score=score)
    if recipe.loop and plans and recipe.plan is not None:
        bars = None if "duration" in changes else bars_in(recipe.plan, recipe.duration)
        request = as_loop(replace(request, loop=False), bars)
    return request, before


def _with_parts(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return `recipe` with other settings in its records."""
    records: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        record, field = _PARTS[name]
        records.setdefault(record, {})[field] = value
    if records.get("flow", {}).get("solver") == "dopri5":  # which takes as many steps as it needs
        records["flow"].setdefault("steps", None)
    changed = {record: replace(getattr(recipe, record), **said) for record, said in records.items()}
    return replace(recipe, **changed)


def _for_model(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return `recipe`, for a model that has these settings."""
    usual = all(getattr(recipe.sampling, name) == value for name, value in TOKENS.items())
    changed = replace(recipe, sampling=Sampling()) if usual or "temperature" not in settings else recipe
    if "decoding_steps" not in settings:
        changed = replace(changed, masked=MaskedSettings())
    if "flow_steps" not in settings:
        changed = replace(changed, flow=FlowSettings())
    if "guidance_text" not in settings:
        changed = replace(changed, guidance=replace(changed.guidance, coef_text=None))
    return changed


def _value(recipe: Recipe, name: str) -> Any:
    """Return what a changeable thing was."""
    if name in _PARTS:
        record, field = _PARTS[name]
        return getattr(getattr(recipe, record), field)
    if name == "style_detail":
        return None if recipe.style is None else recipe.style.eval_q
    if name in _SCORE:
        if recipe.plan is None:
            return None
        return progression_of(recipe.plan) if name == "chords" else getattr(recipe.plan, name)
    return getattr(recipe, name)


def _plan(recipe: Recipe, plan: ScorePlan, changed: Recipe, score: ScoreSettings) -> ScorePlan | None:
    """Return the plan of the file, with what is said otherwise, as long as the new piece."""
    text = recipe.request_text()
    if score.given:
        # New chords bring their key, and a new key its chords.
        kept = ScoreSettings(
            tempo=score.tempo or plan.tempo,
            key=score.key or (None if score.chords else plan.key),
            chords=score.chords or (() if score.key else progression_of(plan)),
            beats_per_bar=plan.beats_per_bar if plan.beats_per_bar in (3, 4) else None,
        )
        return make_plan(text, duration=changed.duration, seed=changed.seed, score=kept)
    if changed.duration == recipe.duration:
        return plan
    # The words and the seed plan a piece of any length; where they did not make this plan, it goes on as it is.
    again = make_plan(text, duration=changed.duration, seed=recipe.seed)
    if again is not None and encode(lasting(again, plan.duration)) == encode(plan):
        return again
    return lasting(plan, changed.duration)
