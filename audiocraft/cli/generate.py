"""`audiocraft generate`: sentences to audio files."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from audiocraft.cli.bar import Bar
from audiocraft.cli.followed import Followed, with_melody
from audiocraft.cli.generate_options import (
    AudioOptions,
    LayoutOptions,
    MachineOptions,
    MannerOptions,
    OutputOptions,
    PieceOptions,
)
from audiocraft.cli.grouped import grouped
from audiocraft.cli.job import Job, Place, given, repeated
from audiocraft.cli.kept import Kept, duration_of, with_kept
from audiocraft.cli.live import STDOUT, Live, Outlets, parse_schedule, stream_format
from audiocraft.cli.manner import facts_of_model, settings_of
from audiocraft.cli.output import note, result
from audiocraft.cli.plan import chart_for, with_chart
from audiocraft.cli.quality import with_effort
from audiocraft.cli.reports import document, draw, explain_live, report
from audiocraft.cli.targets import targets
from audiocraft.cli.understood import Explainer, model_meant
from audiocraft.cli.words import as_text, recordable
from audiocraft.config.limits import PROVENANCE
from audiocraft.errors import InvalidInput
from audiocraft.utils.interrupts import check_interrupted

if TYPE_CHECKING:
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.models.generator import GeneratorModel
    from audiocraft.music.understanding import Understanding
    from audiocraft.workflows.render import Rendered

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

# More rows than this share no weights traffic worth their memory on a small machine.
_ROWS_AT_ONCE = 8
# Longer pieces are written while they are made, so that they need not fit into memory.
_WHOLE_SECONDS = 3600.0


_EXAMPLES = """Examples:

audiocraft generate "calm piano in A minor, 80 bpm" -d 10 -o out.wav

audiocraft generate "rain, then thunder" -d 5

audiocraft generate "rain on a tin roof" -m audiogen-nano -d 5

audiocraft generate "jazz trio" -m melody --melody hummed.wav

audiocraft generate "late night" --adapter jazz.safetensors:0.8

audiocraft generate "add drums" --continue intro.wav -d 20

audiocraft generate --from out.wav --seed 8 -d 20

audiocraft generate "with drums" -m magnet-nano --keep 0-4,8-10 --from out.wav -o redone.wav

audiocraft generate "rock, 100 bpm" -m jasco-nano --chords "Em|C|G|D" --drums beat.wav -o rock.wav

audiocraft generate --plan plan.txt -o out.wav

audiocraft generate "lofi beat, 84 bpm" --loop 4 -o loop.wav

audiocraft generate "jazz with piano, 120 bpm" --takes 4

audiocraft generate "jazz with piano, 120 bpm" --budget 20s

audiocraft generate "folk song in G" -d 20 --ending cadence

audiocraft generate "lofi beat" -d 3600 --stream | ffplay -nodisp -

audiocraft generate "lofi beat" --stream --stream-format pcm -o - | aplay -f S16_LE -r 24000 -c 1

audiocraft generate --schedule "0: calm piano; 30: drums enter" -d 60 --play -o out.flac"""


@app.command(epilog=_EXAMPLES)
@grouped
def generate(
    context: typer.Context,
    piece: PieceOptions,
    audio: AudioOptions,
    manner: MannerOptions,
    score: LayoutOptions,
    machine: MachineOptions,
    out: OutputOptions,
) -> None:
    """Make music or sounds from one or more sentences and print the paths of the files."""
    outlets = None
    if out.stream or out.play or out.output == STDOUT:
        outlets = Outlets.checked(out.output, form=stream_format(out.form), play=out.play)
        _check_report(outlets, out.spectrogram, out.as_json, score.loop)
    said, quiet = given(context), out.quiet or out.as_json
    texts = [*(piece.prompts or ()), *(text for _, text in parse_schedule(score.schedule or ()))]
    model = model_meant(piece.model, texts, said, quiet=quiet)
    if piece.adapter and (
        audio.recipe is None or audio.keep is not None
    ):  # else the recipe's model gets them
        from audiocraft.checkpoints.sources import with_adapters

        model = with_adapters(model, piece.adapter)
    place = Place(model=model, device=machine.device, precision=machine.precision)
    chart = None if score.plan is None else chart_for(model, score.plan)
    length = piece.duration if "duration" in said else None
    kept = (
        None if audio.keep is None else Kept.of(audio.keep, audio.recipe, length, continues=audio.continues)
    )
    if audio.recipe is not None and kept is None:
        job = repeated(audio.recipe, said, out.output, place, outlets, quiet=quiet)
        if chart is not None:
            job = replace(job, request=with_chart(job.request, chart, said))
    else:
        followed = Followed.of(model, chords=score.chords, drums=audio.drums, tune=audio.tune)
        request = _request(
            piece, audio, manner, score, model=model, followed=followed, kept=kept, decoder=machine.decoder
        )
        if chart is not None:
            request = with_chart(request, chart, said)
        request = followed.added_to(request, tempo=score.tempo)
        finish = {"fade": out.fade, "watermark": PROVENANCE if out.watermark else None}
        job = _job(request, audio, out.output, place, outlets, finish=finish, followed=followed)
        job = with_kept(job, kept)
    _check_apart(job, score.plan, piece.prompts_file)
    job = with_effort(_looped(job, score.loop), score.takes, score.budget, said, quiet=quiet)
    explainer = Explainer(job.place.model)
    if job.outlets is not None and not quiet:
        explain_live(explainer, job)
    finished = _render(job, quiet=quiet)
    if out.spectrogram:
        draw(finished)
    understood = _understood(explainer, job, finished)
    if out.as_json:
        document(finished, understood, out.spectrogram)
    else:
        report(finished, understood, explainer, quiet=out.quiet, remarked=job.outlets is not None)


def _understood(explainer: Explainer, job: Job, finished: Sequence[Rendered]) -> list[Understanding]:
    """Return what was made of the words of each file."""
    return [
        explainer.of(job.request, row, seed=item.recipe.seed, plan=item.recipe.plan)
        for row, item in enumerate(finished)
    ]


def _request(
    piece: PieceOptions,
    audio: AudioOptions,
    manner: MannerOptions,
    score: LayoutOptions,
    *,
    model: str,
    followed: Followed,
    kept: Kept | None,
    decoder: str | None,
) -> GenerationRequest:
    """Return the options as a request, which checks them. Rows have seeds one after the other."""
    from audiocraft.generation.held_tones import longest_tone_of
    from audiocraft.generation.request import GenerationRequest, WindowSettings, records_of
    from audiocraft.music.planning import ScoreSettings
    from audiocraft.music.progressions import parse_progression
    from audiocraft.types import StyleSettings

    settings = settings_of(manner.settings(), facts_of_model(model))
    audio.check(model, settings.get("guidance_beta"), manner.style_detail)
    needed = not (score.says_what or audio.drums or audio.tune or kept)
    prompts = _prompts(piece.prompts or [], piece.prompts_file, needed=needed)
    schedule = parse_schedule(score.schedule or ())
    told = followed.left_of({"tempo": score.tempo, "key": score.key, "chords": score.chords})
    chords, ends = told["chords"], dict[str, Any](ending=score.ending)  # which the request checks
    first = secrets.randbits(31) if manner.seed is None else manner.seed
    return GenerationRequest(
        prompts=prompts,
        duration=duration_of(kept, piece.duration),
        seeds=tuple(first + row for row in range(len(prompts))),
        **records_of(settings),
        window=WindowSettings(stride=score.stride, level_anchor=score.level_anchor),
        schedule=schedule,
        score=ScoreSettings(**{**told, "chords": parse_progression(chords) if chords is not None else ()}),
        style=None if manner.style_detail is None else StyleSettings(eval_q=manner.style_detail),
        negative=score.negative,
        **ends,
        longest_tone=longest_tone_of([*prompts, *(text for _, text in schedule)]),
        decoder=decoder,
    )


def _looped(job: Job, bars: str | None) -> Job:
    """Return `job` for a loop, where one is asked for, with a model that is told bars."""
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


def _check_apart(job: Job, *read: Path | None) -> None:
    """Refuse to write a piece, or its sidecar, over a file that the piece starts from, or over `read`."""
    from audiocraft.utils.files import check_apart
    from audiocraft.workflows.render import written_at

    check_apart(written_at(job.targets), (*job.origin.files(), *read))


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
    audio: AudioOptions,
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
        if role == "melody":
            request = with_melody(request, Path(path), place.model)
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
    """Play the one piece of `job` to whoever listens, and to its file where it has one."""
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
