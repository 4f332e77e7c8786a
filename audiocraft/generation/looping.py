"""Requests for loops: whole bars that are made with a bar in front of them, which their end leads into."""

from __future__ import annotations

from dataclasses import replace

from audiocraft.audio.joints import LoopJoin
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.music.looping import bar_of, bars_in, led_in, whole_bars
from audiocraft.music.planning import ScoreSettings
from audiocraft.music.timed_chords import plan_around
from audiocraft.types import Scene, SceneEvent, ScorePlan

_SAME_S = 1e-6


def as_loop(request: GenerationRequest, bars: int | None = None) -> GenerationRequest:
    """Change `request` into one for a loop of so many bars, which lasts as long as they do.

    Args:
        request: with seeds, which the plans depend on where it brings none.
        bars: None for as many whole bars as the request lasts.

    Raises:
        InvalidInput: nothing says what the music should be, or rows that are made together last differently long.
    """
    plans = request.plans
    if plans is None:
        if request.seeds is None:
            raise InvalidInput(
                "a loop needs a seed: its tempo, and so its length, are drawn with it", field="seeds"
            )
        plans = tuple(_planned(request, row, seed, bars) for row, seed in enumerate(request.seeds))
    loops = tuple(whole_bars(_known(plan), bars) for plan in plans)
    lengths = {round(plan.duration, 6): plan for plan in loops}
    if len(lengths) > 1:
        said = " and ".join(f"{plan.tempo:g} bpm" for plan in lengths.values())
        raise InvalidInput(
            f"loops that are made together last equally long, and these have {said}: say one tempo for all",
            field="tempo",
        )
    return replace(
        request,
        plans=loops,
        score=ScoreSettings(),
        duration=loops[0].duration,
        loop=True,
    )


def _planned(request: GenerationRequest, row: int, seed: int, bars: int | None) -> ScorePlan | None:
    """Return the plan of a row, long enough for so many bars: how long those are is known from a plan alone."""

    def planned(duration: float) -> ScorePlan | None:
        text = request.prompt_at(row, 0.0)
        return plan_around(text, request.controls.chords, duration=duration, seed=seed, score=request.score)

    plan = planned(request.duration)
    if plan is None or bars is None or bars * bar_of(plan) <= request.duration:
        return plan
    return planned(bars * bar_of(plan))


def joined_loop(request: GenerationRequest) -> GenerationRequest:
    """Return the request that makes a loop: a bar longer, and with the processor that takes that bar into the loop's
    end."""
    longer, lead = with_lead(request)
    join = LoopJoin(lead=lead, duration=request.duration)
    return replace(longer, processors=(join, *request.processors))


def with_lead(request: GenerationRequest) -> tuple[GenerationRequest, float]:
    """Return the request of a loop as a plain piece that begins a bar earlier, and how long that bar is, in seconds.

    Raises:
        InvalidInput: a row has no plan, or lasts no whole number of its bars.
    """
    plans = [_known(plan) for plan in request.plans or (None,) * len(request.prompts)]
    for plan in plans:
        if bars_in(plan, request.duration) is None or abs(plan.duration - request.duration) > _SAME_S:
            raise InvalidInput(
                f"{request.duration:g} s are no whole bars at {plan.tempo:g} bpm; generation.looping.as_loop makes a "
                "request for whole bars",
                field="duration",
            )
    lead = max(bar_of(plan) for plan in plans)
    longer = replace(
        request,
        plans=tuple(led_in(plan, lead) for plan in plans),
        scenes=request.scenes
        and tuple(_led_scene(scene, lead, request.duration) for scene in request.scenes),
        duration=request.duration + lead,
        loop=False,
    )
    return longer, lead


def _led_scene(scene: Scene | None, lead: float, duration: float) -> Scene | None:
    """Return the scene of a loop of `duration` seconds with its last `lead` seconds in front of it."""
    if scene is None:
        return None
    events = []
    for event in scene.events:
        for shift in (lead - duration, lead):
            start, end = max(0.0, event.start + shift), min(event.end + shift, duration + lead)
            bursts = tuple(
                (max(start, begin + shift), min(until + shift, end))
                for begin, until in event.bursts
                if begin + shift < end and until + shift > start
            )
            if start < end and (bursts or not event.bursts):
                events.append(SceneEvent(kind=event.kind, start=start, end=end, bursts=bursts))
    return replace(scene, events=tuple(events), duration=duration + lead)


def _known(plan: ScorePlan | None) -> ScorePlan:
    if plan is None:
        raise InvalidInput(
            "nothing says what the loop should be: give words, a tempo or chords", field="prompts"
        )
    return plan
