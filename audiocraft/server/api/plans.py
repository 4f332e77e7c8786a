"""Plans before anything is made: what pieces would be, as bars to change, and changed bars as plans to send."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from audiocraft.config.limits import MAX_SEED
from audiocraft.errors import InvalidInput
from audiocraft.music.chart_text import read_chart, write_chart
from audiocraft.music.charts import Chart, chart_of
from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.music.ranking import PlanFigures, ranked
from audiocraft.server.api.deps import GenerateCaller
from audiocraft.server.api.responses import PROBLEMS
from audiocraft.server.api.schemas import (
    GenerationBody,
    PlanBody,
    PromptText,
    Seconds,
    SectionBody,
    Seed,
    Strict,
)
from audiocraft.server.api.scores import body_of_plan, score_of
from audiocraft.types import ScorePlan

# Of a plan that requests can carry.
_MOST_SECONDS, _MOST_CHORDS = 3600.0, 10_000
_SHORTEST_MS = 500  # of a section

router = APIRouter(prefix="/v1/plans", tags=["generations"], responses=PROBLEMS)


class PlansBody(Strict):
    """A prompt whose plans are wanted, or a chart that somebody changed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "sad strings in A minor", "duration": 30, "seed": 5, "count": 20},
                {"chart": "tempo: 80\n[piano]\n| Am F | C G |\n"},
            ]
        }
    )

    prompt: PromptText = Field(default="", description="What it should sound like.")
    plan: PlanBody | None = Field(default=None, description="Tempo, key or chords that are set outright.")
    duration: Seconds = Field(default=10.0, description="Seconds; a chart says its own.")
    seed: Seed = Field(default=0, description="Of the first plan; the next ones have the seeds that follow.")
    count: Annotated[int, Field(ge=1, le=100)] = Field(default=1, description="How many plans.")
    chart: Annotated[str, StringConstraints(min_length=1, max_length=200_000)] | None = Field(
        default=None,
        description="A plan as text, or as JSON: it comes back as what a piece can be asked for with.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.chart is not None and (self.prompt.strip() or self.plan is not None or self.count > 1):
            raise ValueError("chart: a chart says everything itself; leave prompt, plan and count out")
        if self.chart is None and not self.prompt.strip() and self.plan is None:
            raise ValueError("prompt: say what it should sound like, or send a chart")
        return self


class PlannedPiece(BaseModel):
    """A piece as it would be. `prompt`, `seed`, `plan` and, where there are any, `sections` make it, in a body of
    /v1/generations."""

    prompt: str
    seed: int
    duration: float = Field(description="Seconds.")
    plan: PlanBody
    sections: list[SectionBody] = Field(description="Where the chart has sections with words.")
    chart: str = Field(description="The plan as text, to be changed.")
    ends_home: bool = Field(description="Whether the last chord is the tonic.")
    motion: float = Field(description="Semitones that the voices move at a change of chords, on average.")


class PlanList(BaseModel):
    """Plans, those that end at home first, and of these the smoothest."""

    object: str = "list"
    data: list[PlannedPiece]


@router.post("")
def plan_pieces(body: PlansBody, _who: GenerateCaller) -> PlanList:
    """Plan pieces without making them, or check and read a chart that was changed."""
    if body.chart is not None:
        charts = [_read(body.chart)]
    else:
        score = score_of(GenerationBody(prompt=body.prompt, plan=body.plan))
        charts = [
            _planned(body, seed % (MAX_SEED + 1), score) for seed in range(body.seed, body.seed + body.count)
        ]
    order = ranked([chart.plan() for chart in charts])
    return PlanList(data=[_entry(charts[place], figures) for place, figures in order])


def _read(text: str) -> Chart:
    try:
        chart = read_chart(text, source="chart")
    except InvalidInput as error:
        raise InvalidInput(str(error), field="chart") from error
    if chart.seconds > _MOST_SECONDS:
        raise InvalidInput(f"chart: {chart.seconds:g} s are more than {_MOST_SECONDS:g} s", field="chart")
    if len(chart.plan().chords) > _MOST_CHORDS:
        raise InvalidInput(f"chart: a plan has {_MOST_CHORDS} chords at most", field="chart")
    return chart


def _planned(body: PlansBody, seed: int, score: ScoreSettings) -> Chart:
    plan = make_plan(body.prompt, duration=body.duration, seed=seed, score=score)
    if plan is None:
        raise InvalidInput("plan: it sets nothing, and there is no prompt", field="plan")
    return chart_of(plan, prompt=body.prompt, seed=seed, score=score)


def _entry(chart: Chart, figures: PlanFigures) -> PlannedPiece:
    schedule = chart.schedule()
    edges = [*(second for second, _ in schedule), chart.seconds]
    sections = [
        SectionBody(
            prompt=words or chart.prompt or "", duration_ms=max(_SHORTEST_MS, round(1000 * (end - start)))
        )
        for (_, words), (start, end) in zip(schedule, pairwise(edges), strict=True)
    ]
    return PlannedPiece(
        prompt=chart.prompt or "",
        seed=chart.seed or 0,
        duration=chart.seconds,
        plan=body_of_plan(_from_the_start(chart.plan())),
        sections=sections if all(section.prompt for section in sections) else [],
        chart=write_chart(chart),
        ends_home=figures.ends_home,
        motion=round(figures.motion, 3),
    )


def _from_the_start(plan: ScorePlan) -> ScorePlan:
    """Return a plan whose chords do not begin before the piece does."""
    before = [symbol for time, symbol in plan.chords if time <= 0]
    later = tuple(chord for chord in plan.chords if chord[0] > 0)
    return replace(plan, chords=(*((0.0, symbol) for symbol in before[-1:]), *later))
