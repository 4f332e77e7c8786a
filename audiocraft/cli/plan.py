"""`audiocraft plan`: what a piece will be before it is made, as text to change and hand to `generate --plan`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.grouped import grouped
from audiocraft.cli.live import parse_schedule
from audiocraft.cli.output import document, note, result
from audiocraft.cli.understood import Explainer
from audiocraft.cli.words import as_text
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.music.charts import Chart
    from audiocraft.music.planning import ScoreSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_MOST = 1000  # plans of one list
_EXAMPLES = """Examples:

audiocraft plan "calm piano in A minor, 80 bpm" -d 30 -o plan.txt

audiocraft generate --plan plan.txt -o out.wav

audiocraft plan "sad strings" --count 20

audiocraft plan --from out.wav --midi out.mid"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedOptions:
    """These options say which piece is planned."""

    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="What it should sound like.")] = None
    duration: options.Duration = 10.0
    seed: Annotated[int | None, typer.Option(help="Same seed, same plan.")] = None
    score: options.ScoreOptions
    schedule: options.Schedule = None
    ending: options.Ending = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanFileOptions:
    """These options say where a plan goes, and in which form."""

    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A text file for the plan, instead of the screen.")
    ] = None
    midi: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also a MIDI file of the chords, with their names.")
    ] = None
    as_json: options.AsJson = False

    def check_apart_from(self, origin: Path | None) -> None:
        """Refuse to write over the file that a plan is read from, or the piece that it is the plan of."""
        from audiocraft.utils.files import check_apart
        from audiocraft.workflows.render import sidecar_of

        if origin is not None:
            read = [origin, sidecar_of(origin)]
            check_apart([] if self.output is None else [self.output], read)
            check_apart([] if self.midi is None else [self.midi], read, field="midi")


@app.command(epilog=_EXAMPLES)
@grouped
def plan(
    context: typer.Context,
    piece: PlannedOptions,
    origin: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="The plan of a piece, or one that was written before."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            help="List so many plans, of one seed after the other, the smoothest that end at home first."
        ),
    ] = None,
    model: options.Model = "musicgen-nano",
    *,
    out: PlanFileOptions,
) -> None:
    """Print tempo, key, sections and the chords of every bar, as text that can be changed."""
    check_takes_plans(model)
    out.check_apart_from(origin)
    score, schedule = piece.score.settings(), parse_schedule(piece.schedule or ())
    first = secrets.randbits(31) if piece.seed is None else piece.seed
    if origin is not None:
        _check_alone(context)
        charts = [chart_of_file(origin)]
    else:
        made = _request(piece, schedule, score)
        if count is not None and not 1 <= count <= _MOST:
            raise InvalidInput(f"count must be between 1 and {_MOST}, got {count}", field="count")
        made = replace(made, ending=piece.ending)  # type: ignore[arg-type]  # the request checks it
        charts = [_made(made, first + place) for place in range(count or 1)]
        for remark in Explainer(model).of_plan(made, seed=first, plan=charts[0].plan()):
            note(remark)
    if count is not None:
        if out.midi is not None or out.output is not None:
            raise InvalidInput("--count lists plans; choose one by its --seed for a file", field="count")
        _list(charts, as_json=out.as_json)
        return
    _write(charts[0], out)


def check_takes_plans(model: str) -> None:
    """Refuse a model that is told nothing of tempo and chords, and a name that is none of a model."""
    from audiocraft.checkpoints.facts import check_known, find_facts

    check_known(model, kind="lm")
    facts = find_facts(model)
    if facts is not None:
        facts.check_takes("plan")


def chart_for(model: str, path: Path) -> Chart:
    """Return the chart in a file, for a model that takes plans."""
    check_takes_plans(model)
    return chart_of_file(path)


def chart_of_file(path: Path) -> Chart:
    """Return the chart in a file: a text or JSON that was written before, or a piece of ours with its sidecar."""
    from audiocraft.music.chart_text import read_chart
    from audiocraft.music.charts import chart_of
    from audiocraft.workflows.render import SUFFIXES, read_recipe, sidecar_of

    made = path.suffix.lower() in SUFFIXES
    if not made:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InvalidInput(f"cannot read the plan {path}: {reason}", field="plan") from error
        if '"sections"' in text or not text.lstrip().startswith("{"):
            return read_chart(text, source=path.name)
    recipe = read_recipe(path)
    if recipe.plan is None:
        raise InvalidInput(
            f"{sidecar_of(path) if made else path} has no plan: its model takes none", field="from"
        )
    return chart_of(recipe.plan, prompt=recipe.prompt, seed=recipe.seed, schedule=recipe.schedule)


def with_chart(request: GenerationRequest, chart: Chart, given: Mapping[str, Any]) -> GenerationRequest:
    """Put `request` in the plan of a chart, as long as it is, and of its words, where the command line says no others.

    Args:
        given: the options that stand on the command line.
    """
    from audiocraft.music.planning import ScoreSettings, lasting

    says = next((name for name in ("tempo", "key", "chords", "schedule") if name in given), None)
    if says is not None:
        raise InvalidInput(
            f"--plan says {says} already: change it in the file, or leave --{says} out", field=says
        )
    own_words = given.get("prompts") or given.get("prompts_file")
    prompts = request.prompts if own_words else (chart.prompt,) * len(request.prompts)
    seconds = request.duration if "duration" in given else chart.seconds
    seeds = request.seeds
    if "seed" not in given and chart.seed is not None:
        seeds = tuple(chart.seed + row for row in range(len(prompts)))
    schedule = tuple(entry for entry in chart.schedule() if entry[0] < seconds)
    if schedule and not schedule[0][1]:  # its first section says nothing beside the prompt
        if len(set(prompts)) > 1 or not prompts[0]:
            raise InvalidInput(
                "the first section of the plan says nothing; write [words] above its bars", field="plan"
            )
        begin = prompts[0]
        schedule = tuple((at, ", ".join(filter(None, (begin, words)))) for at, words in schedule)
        prompts = (None,) * len(prompts)
    plan = chart.plan()
    if seconds != plan.duration:
        plan = lasting(plan, seconds)
    return replace(
        request,
        prompts=prompts,
        duration=seconds,
        seeds=seeds,
        schedule=schedule,
        score=ScoreSettings(),
        plans=(plan,) * len(prompts),
    )


def _check_alone(context: typer.Context) -> None:
    from audiocraft.cli.job import given

    others = {"prompt", "duration", "seed", "tempo", "key", "chords", "schedule", "ending", "count"} & given(
        context
    ).keys()
    if others:
        raise InvalidInput(
            f"--from shows a plan as it is; leave out {', '.join(sorted(others))}, or change the text",
            field="from",
        )


def _request(
    piece: PlannedOptions, schedule: tuple[tuple[float, str], ...], score: ScoreSettings
) -> GenerationRequest:
    from audiocraft.generation.request import GenerationRequest

    prompt = None if piece.prompt is None else as_text(piece.prompt, "prompt")
    if not (prompt and prompt.strip()) and not schedule and not score.given:
        raise InvalidInput('what should the music be? audiocraft plan "calm piano, 80 bpm"', field="prompts")
    return GenerationRequest(prompts=(prompt,), duration=piece.duration, schedule=schedule, score=score)


def _made(request: GenerationRequest, seed: int) -> Chart:
    """Return the chart of what a request will be with a seed."""
    from audiocraft.music.charts import chart_of
    from audiocraft.music.planning import make_plan

    made = make_plan(request.prompt_at(0, 0.0), duration=request.duration, seed=seed, score=request.score)
    assert made is not None, "something was said"
    if request.ending is not None:
        from audiocraft.music.closing import closing

        made = closing(made, duration=request.duration)
    prompt = request.prompts[0]
    return chart_of(made, prompt=prompt, seed=seed, schedule=request.schedule, score=request.score)


def _list(charts: list[Chart], *, as_json: bool) -> None:
    """Print plans, a line each, the best first."""
    from audiocraft.music.planning import progression_of
    from audiocraft.music.ranking import ranked

    plans = [chart.plan() for chart in charts]
    order = ranked(plans)
    if as_json:
        entries = [
            {**charts[at].to_dict(), "ends_home": what.ends_home, "motion": round(what.motion, 3)}
            for at, what in order
        ]
        document({"plans": entries})
        return
    for at, what in order:
        home = "ends at home" if what.ends_home else ""
        chords = " ".join(progression_of(plans[at]))
        line = f"seed {charts[at].seed:<10} {plans[at].tempo:5g} bpm  {plans[at].key:<9} {chords:<24} "
        result(f"{line} {what.motion:4.1f} semitones a change  {home}".rstrip())


def _write(chart: Chart, out: PlanFileOptions) -> None:
    from audiocraft.music.chart_text import write_chart
    from audiocraft.music.midi import midi_of
    from audiocraft.utils.files import atomic_write

    if out.midi is not None:
        atomic_write(out.midi, midi_of(chart.plan(), title=chart.prompt or "", sections=chart.schedule()))
    if out.output is not None:
        atomic_write(out.output, write_chart(chart).encode())
    if out.as_json:
        document(chart.to_dict())
    elif out.output is None:
        result(write_chart(chart).rstrip("\n"))
    else:
        result(str(out.output))
