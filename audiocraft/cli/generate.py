"""`audiocraft generate`: sentences to audio files."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.bar import Bar
from audiocraft.cli.followed import Followed
from audiocraft.cli.job import Job, Place, given, repeated
from audiocraft.cli.kept import Kept, duration_of, with_kept
from audiocraft.cli.live import STDOUT, Live, Outlets, parse_schedule, stream_format
from audiocraft.cli.manner import facts_of_model, settings_of
from audiocraft.cli.output import note, result
from audiocraft.cli.plan import chart_for, with_chart
from audiocraft.cli.quality import with_effort
from audiocraft.cli.reports import document, draw, explain_live, report
from audiocraft.cli.targets import targets
from audiocraft.cli.understood import Explainer
from audiocraft.cli.words import as_text, recordable
from audiocraft.config.limits import FADE
from audiocraft.config.watermark import PROVENANCE
from audiocraft.errors import InvalidInput
from audiocraft.utils.interrupts import check_interrupted

if TYPE_CHECKING:
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.models.generator import GeneratorModel
    from audiocraft.music.understanding import Understanding
    from audiocraft.workflows.origins import Role
    from audiocraft.workflows.render import Rendered

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

# More rows than this share no weights traffic worth their memory on a small machine.
_ROWS_AT_ONCE = 8
# Longer pieces are written while they are made, so that they need not fit into memory.
_WHOLE_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Audio:
    """The audio files that a piece starts from."""

    continues: Path | None = None
    melody: Path | None = None
    style: Path | None = None

    @property
    def reference(self) -> tuple[Path, Role] | None:
        """The file that the model refers to, and as what."""
        if self.melody is not None:
            return self.melody, "melody"
        return None if self.style is None else (self.style, "style")

    def check(self, model: str, text_guidance: float | None, style_detail: int | None) -> None:
        """Refuse what cannot be done, as far as it shows before the model is read."""
        for name in ("continues", "melody", "style"):
            recordable(getattr(self, name), name)
        if self.melody is not None and self.style is not None:
            raise InvalidInput("choose --melody or --style: no model follows both", field="melody")
        if style_detail is not None and self.style is None:
            raise InvalidInput("--style-detail says how --style AUDIO is read", field="style_detail")
        if self.reference is None:
            if text_guidance is not None:
                raise InvalidInput(
                    "--text-guidance weighs the prompt against the audio of --melody or --style",
                    field="text_guidance",
                )
            return
        from audiocraft.checkpoints.facts import find_facts

        facts = find_facts(model)
        if facts is not None:
            facts.check_takes(self.reference[1])


_EXAMPLES = """Examples:

audiocraft generate "calm piano in A minor, 80 bpm" -d 10 -o out.wav

audiocraft generate "rain on a tin roof" -m audiogen-nano -d 5

audiocraft generate "jazz trio" -m melody --melody hummed.wav

audiocraft generate "late night" --adapter jazz.safetensors:0.8

audiocraft generate "add drums" --continue intro.wav -d 20

audiocraft generate --from out.wav --seed 8 -d 20

audiocraft generate "with drums" -m MAGNET --keep 0-4,8-10 --from out.wav -o redone.wav

audiocraft generate --plan plan.txt -o out.wav

audiocraft generate "lofi beat, 84 bpm" --loop 4 -o loop.wav

audiocraft generate "jazz with piano, 120 bpm" --takes 4

audiocraft generate "jazz with piano, 120 bpm" --budget 20s

audiocraft generate "folk song in G" -d 20 --ending cadence

audiocraft generate "lofi beat" -d 3600 --stream | ffplay -nodisp -

audiocraft generate "lofi beat" --stream --stream-format pcm -o - | aplay -f S16_LE -r 24000 -c 1

audiocraft generate --schedule "0: calm piano; 30: drums enter" -d 60 --play -o out.flac"""


@app.command(epilog=_EXAMPLES)
def generate(  # every option is one parameter: that is how the option parser reads them
    context: typer.Context,
    prompts: options.Prompts = None,
    prompts_file: options.PromptsFile = None,
    duration: options.Duration = 10.0,
    model: options.Model = "musicgen-nano",
    adapter: options.Adapter = None,
    melody: options.Melody = None,
    drums: options.Drums = None,
    tune: options.Tune = None,
    style: options.Style = None,
    continues: options.Continues = None,
    recipe: options.FromSidecar = None,
    keep: options.Keep = None,
    seed: options.Seed = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    guidance: options.Guidance = None,
    text_guidance: options.TextGuidance = None,
    style_detail: options.StyleDetail = None,
    decoding_steps: options.DecodingSteps = None,
    span_arrangement: options.SpanArrangement = None,
    least_guidance: options.LeastGuidance = None,
    anneal: options.Anneal = None,
    rescorer: options.Rescorer = None,
    rescorer_weight: options.RescorerWeight = None,
    flow_solver: options.FlowSolver = None,
    flow_steps: options.FlowSteps = None,
    flow_tolerance: options.FlowTolerance = None,
    tempo: options.Tempo = None,
    key: options.Key = None,
    chords: options.Chords = None,
    plan: options.Plan = None,
    negative: options.Negative = None,
    loop: options.Loop = None,
    ending: options.Ending = None,
    takes: options.Takes = None,
    budget: options.BudgetOption = None,
    stride: options.Stride = None,
    schedule: options.Schedule = None,
    level_anchor: options.LevelAnchor = True,
    device: options.Device = None,
    precision: options.Precision = "auto",
    decoder: options.Decoder = None,
    output: options.Output = None,
    stream: options.Stream = False,
    form: options.StreamFormat = "wav",
    play: options.Play = False,
    fade: options.Fade = FADE,
    watermark: options.Watermark = False,
    spectrogram: options.Spectrogram = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Make music or sounds from one or more sentences and print the paths of the files."""
    audio = _Audio(continues=continues, melody=melody, style=style)
    outlets = None
    if stream or play or output == STDOUT:
        outlets = Outlets.checked(output, form=stream_format(form), play=play)
        _check_report(outlets, spectrogram, as_json, loop)
    if adapter and recipe is None:
        from audiocraft.checkpoints.sources import with_adapters

        model = with_adapters(model, adapter)
    place = Place(model=model, device=device, precision=precision)
    chart = None if plan is None else chart_for(model, plan)
    kept = None if keep is None else Kept.of(keep, recipe, duration if "duration" in given(context) else None)
    if recipe is not None and kept is None:
        job = repeated(recipe, given(context), output, place, outlets, quiet=quiet or as_json)
        if chart is not None:
            job = replace(job, request=with_chart(job.request, chart, given(context)))
    else:
        said = {
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance,
            "text_guidance": text_guidance, "decoding_steps": decoding_steps, "span_arrangement": span_arrangement,
            "least_guidance": least_guidance, "anneal": anneal, "rescorer": rescorer,
            "rescorer_weight": rescorer_weight, "flow_solver": flow_solver, "flow_steps": flow_steps,
            "flow_tolerance": flow_tolerance,
        }  # fmt: skip
        settings = settings_of(said, facts_of_model(model))
        audio.check(model, settings.get("guidance_beta"), style_detail)
        followed = Followed.of(model, chords=chords, drums=drums, tune=tune)
        request = _request(
            _prompts(
                prompts or [],
                prompts_file,
                needed=not (schedule or tempo or key or chords or plan or drums or tune or kept),
            ),
            duration=duration_of(kept, duration),
            seed=seed,
            settings=settings,
            window={"stride": stride, "level_anchor": level_anchor},
            schedule=parse_schedule(schedule or ()),
            score=followed.left_of({"tempo": tempo, "key": key, "chords": chords}),
            style_detail=style_detail,
            ends={"negative": negative, "ending": ending},
            decoder=decoder,
        )
        if chart is not None:
            request = with_chart(request, chart, given(context))
        request = followed.added_to(request, tempo=tempo)
        finish = {"fade": fade, "watermark": PROVENANCE if watermark else None}
        job = with_kept(_job(request, audio, output, place, outlets, finish=finish, followed=followed), kept)
    job = with_effort(_looped(job, loop), takes, budget, given(context), quiet=quiet or as_json)
    explainer = Explainer(job.place.model)
    if job.outlets is not None and not (quiet or as_json):
        explain_live(explainer, job)
    finished = _render(job, quiet=quiet or as_json)
    if spectrogram:
        draw(finished)
    understood = _understood(explainer, job, finished)
    if as_json:
        document(finished, understood, spectrogram)
    else:
        report(finished, understood, explainer, quiet=quiet, remarked=job.outlets is not None)


def _understood(explainer: Explainer, job: Job, finished: Sequence[Rendered]) -> list[Understanding]:
    """What was made of the words of each file."""
    return [
        explainer.of(job.request, row, seed=item.recipe.seed, plan=item.recipe.plan)
        for row, item in enumerate(finished)
    ]


def _request(
    prompts: tuple[str | None, ...],
    *,
    duration: float,
    seed: int | None,
    settings: Mapping[str, Any],
    window: Mapping[str, Any],
    schedule: tuple[tuple[float, str], ...],
    score: Mapping[str, Any],
    style_detail: int | None,
    ends: Mapping[str, Any],
    decoder: str | None,
) -> GenerationRequest:
    """The options as a request, which checks them. Rows have seeds one after the other."""
    from audiocraft.generation.held_tones import longest_tone_of
    from audiocraft.generation.request import GenerationRequest, WindowSettings, records_of
    from audiocraft.music.planning import ScoreSettings
    from audiocraft.music.reading import parse_chords
    from audiocraft.types import StyleSettings

    chords = score["chords"]
    first = secrets.randbits(31) if seed is None else seed
    return GenerationRequest(
        prompts=prompts,
        duration=duration,
        seeds=tuple(first + row for row in range(len(prompts))),
        **records_of(settings),
        window=WindowSettings(**window),
        schedule=schedule,
        score=ScoreSettings(**{**score, "chords": parse_chords(chords) if chords is not None else ()}),
        style=None if style_detail is None else StyleSettings(eval_q=style_detail),
        **ends,
        longest_tone=longest_tone_of([*prompts, *(text for _, text in schedule)]),
        decoder=decoder,
    )


def _looped(job: Job, bars: str | None) -> Job:
    """`job` for a loop, where one is asked for, with a model that is told bars."""
    if bars is None:
        return job
    from audiocraft.checkpoints.facts import find_facts
    from audiocraft.generation.looping import as_loop

    facts = find_facts(job.place.model)
    if facts is not None:
        facts.check_takes("plan")
    if bars != "auto" and not bars.isdecimal():
        raise InvalidInput(f"--loop takes a number of bars, or auto; got {bars!r}", field="loop")
    count = None if bars == "auto" else int(bars)
    return replace(job, request=as_loop(replace(job.request, loop=False), count))


def _check_report(outlets: Outlets, spectrogram: bool, as_json: bool, loop: str | None) -> None:
    if loop is not None:
        raise InvalidInput("a loop is written whole: leave out --stream and --play", field="loop")
    if outlets.stdout is not None and (spectrogram or as_json):
        raise InvalidInput(
            "standard output carries the audio; --json and --spectrogram need a file (-o FILE)", field="json"
        )


def _prompts(given: Sequence[str], file: Path | None, *, needed: bool) -> tuple[str | None, ...]:
    given = [as_text(prompt, "prompts") for prompt in given]
    lines: list[str] = []
    if file is not None:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InvalidInput(f"cannot read prompts from {file}: {reason}", field="prompts") from error
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
    prompts = (*given, *lines)
    if not prompts and not needed:
        return (None,)
    if not prompts:
        raise InvalidInput(
            'what should the music be? audiocraft generate "calm piano, 80 bpm"', field="prompts"
        )
    if not all(prompt.strip() for prompt in prompts):
        raise InvalidInput("a prompt is empty; say what the music should be", field="prompts")
    return prompts


def _job(
    request: GenerationRequest,
    audio: _Audio,
    output: Path | None,
    place: Place,
    outlets: Outlets | None,
    *,
    finish: Mapping[str, Any],
    followed: Followed,
) -> Job:
    from audiocraft.audio.finishing import Finish
    from audiocraft.workflows.continuing import keep_plan
    from audiocraft.workflows.origins import (
        Origin,
        continuation_of,
        reference_of,
        with_prompt_audio,
        with_reference,
    )

    origin = Origin(followed=followed.files())
    if audio.continues is not None:
        request = with_prompt_audio(request, audio.continues)
        request = keep_plan(request, audio.continues, model=place.model)
        origin = replace(origin, continues=continuation_of(audio.continues))
    if audio.reference is not None:
        path, role = audio.reference
        request = with_reference(request, path, role)
        origin = replace(origin, reference=reference_of(path, role))
    if outlets is None and request.duration > _WHOLE_SECONDS:
        outlets = Outlets()
    if outlets is not None and len(request.prompts) > 1:
        raise InvalidInput(
            f"one piece can be streamed at a time, and pieces of more than {_WHOLE_SECONDS:g} s are streamed into "
            f"their file; there are {len(request.prompts)} prompts",
            field="prompts",
        )
    no_file = outlets is not None and (output == STDOUT or (output is None and outlets != Outlets()))
    names = [request.prompt_at(row, 0.0) or "" for row in range(len(request.prompts))]
    return Job(
        request=request,
        targets=() if no_file else targets(names, recordable(output, "output")),
        place=place,
        origin=origin,
        outlets=outlets,
        finish=Finish(**finish),
    )


def _render(job: Job, *, quiet: bool) -> list[Rendered]:
    from audiocraft.workflows.render import identity_of, render
    from audiocraft.workflows.takes import ONE_TAKE

    model = _load(job)
    differs = job.expected.difference(identity_of(model)) if job.expected is not None else None
    if differs:
        note(f"warning: {differs}; it will sound different")
    if job.outlets is not None:
        return _render_live(model, job, job.outlets, quiet=quiet)
    finished: list[Rendered] = []
    rows = len(job.request.prompts)
    try:
        with Bar(rows, quiet=quiet) as bar:
            for start in range(0, rows, _ROWS_AT_ONCE):
                stop = min(rows, start + _ROWS_AT_ONCE)
                render(
                    model,
                    job.request.rows(start, stop),
                    job.targets[start:stop],
                    origin=job.origin,
                    finish=job.finish,
                    effort=job.effort or ONE_TAKE,
                    progress=bar.reporter(start, stop),
                    finished=finished,
                )
    except BaseException:
        for done in finished:  # they stay, and scripts should know
            result(str(done.path))
        raise
    return finished


def _render_live(model: GeneratorModel, job: Job, outlets: Outlets, *, quiet: bool) -> list[Rendered]:
    """The one piece of `job` to whoever listens, and to its file where it has one."""
    from audiocraft.audio.tags import generation_tags
    from audiocraft.workflows.live import render_live

    title, seeds = job.request.prompt_at(0, 0.0) or "", job.request.seeds
    tags = generation_tags(title, model=model.name, seed=seeds[0]) if seeds else {}
    with Bar(1, quiet=quiet) as bar, Live(model, job.request.duration, outlets, tags) as live:
        rendered = render_live(
            model,
            job.request,
            job.targets[0] if job.targets else None,
            listeners=live.listeners,
            origin=job.origin,
            finish=job.finish,
            progress=bar.reporter(0, 1),
        )
    return [] if rendered is None else [rendered]


def _load(job: Job) -> GeneratorModel:
    from audiocraft.models.loaders import load_model

    place = job.place
    if job.chosen is not None:
        return job.chosen
    check_interrupted()
    model = load_model(place.model, device=place.device, precision=place.precision)
    check_interrupted()
    return model
