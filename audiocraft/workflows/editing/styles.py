"""A piece in another style: its tempo, bars and chords, heard or corrected by hand, played as other words say."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from audiocraft.audio.salience import melody_salience
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.models.generator import GeneratorModel
from audiocraft.music.planning import ScoreSettings
from audiocraft.types import ScorePlan
from audiocraft.workflows.quality.best import best_of


def restyled(request: GenerationRequest, plan: ScorePlan) -> GenerationRequest:
    """Return `request`, whose words say how, for a piece that keeps `plan` from beginning to end.

    Raises:
        InvalidInput: its words say nothing.
    """
    if not any((request.prompt_at(row, 0.0) or "").strip() for row in range(len(request.prompts))):
        raise InvalidInput("which style? say it in words: 'house with synth bass'", field="prompt")
    whole = replace(plan, start=0.0) if plan.start == 0 else _from_start(plan)
    return replace(
        request,
        plans=(whole,) * len(request.prompts),
        score=ScoreSettings(),
        duration=whole.duration,
    )


def restyle(
    model: GeneratorModel,
    request: GenerationRequest,
    plan: ScorePlan,
    *,
    takes: int = 1,
    tune_of: tuple[Tensor, int] | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> GenerationResult:
    """Make `restyled(request, plan)`.

    Args:
        takes: of each row, of which the one is kept that has tempo, key and chords of the plan and the style of the
            words most clearly (`workflows.quality`).
        tune_of: the piece [C, N] and its rate, whose tune is kept too by a model that follows plans and tunes; others
            have no use for it.

    Raises:
        InvalidInput: the model takes no plans, so it would keep nothing.
    """
    if not model.takes_plans:
        raise InvalidInput(
            f"model {model.name!r} is told no bars and chords, so it would keep nothing of the piece",
            field="model",
        )
    asked = restyled(request, plan)
    if tune_of is not None and "melody" in model.takes and model.follows_flow:
        salience, rate = melody_salience(tune_of[0].float().mean(0, keepdim=True), tune_of[1])
        asked = replace(asked, controls=replace(asked.controls, melody=salience, melody_frame_rate=rate))
    if takes == 1:
        return model.run(asked, progress=progress, cancel=cancel)
    made = [one.take.result for one in best_of(model, asked, takes, progress=progress, cancel=cancel)]
    codes = [one.codes for one in made if one.codes is not None]
    return replace(
        made[0],
        audio=torch.cat([one.audio for one in made]),
        codes=torch.cat(codes) if codes else None,
        seeds=tuple(seed for one in made for seed in one.seeds),
        plans=tuple(plan for one in made for plan in one.plans),
    )


def _from_start(plan: ScorePlan) -> ScorePlan:
    chords = tuple((max(0.0, time - plan.start), symbol) for time, symbol in plan.chords)
    return replace(plan, first_beat=plan.first_beat - plan.start, chords=chords, start=0.0)
