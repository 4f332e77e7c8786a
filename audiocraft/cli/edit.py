"""`audiocraft edit`: what can be done to a piece that is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.output import document, is_terminal, note, result
from audiocraft.cli.targets import unnamed
from audiocraft.cli.words import recordable
from audiocraft.errors import InvalidInput

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The audio file to edit.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="wav, flac, mp3, ogg or opus by suffix; by default beside FILE."),
]
Tempo = Annotated[float | None, typer.Option(metavar="BPM", help="Its tempo, where another would be heard.")]


@app.callback()
def edit() -> None:
    """Change a piece that is there: cut a loop out of it, and more."""


@app.command(
    epilog="Examples:\n\naudiocraft edit loop song.wav --bars 4 -o loop.ogg\n\n"
    "audiocraft edit loop drums.flac --tempo 92 --json"
)
def loop(
    file: File,
    bars: Annotated[
        int | None, typer.Option(help="Whole bars of the loop; by default as many as fit.")
    ] = None,
    tempo: Tempo = None,
    output: Output = None,
    as_json: options.Document = False,
    quiet: options.Silent = False,
) -> None:
    """Cut the bars that make the best loop out of a piece; its end leads into its beginning."""
    from audiocraft.workflows.editing.files import read_piece, write_loop
    from audiocraft.workflows.editing.loops import cut_loop

    target = target_of(file, output, "loop")
    piece = read_piece(file, tempo=tempo)
    found = cut_loop(piece.audio, piece.sample_rate, piece.plan, bars, exact=piece.exact)
    write_loop(target, found, title=file.stem)
    report(
        target,
        {
            "bars": found.bars,
            "seconds": round(found.seconds, 6),
            "samples": found.audio.shape[-1],
            "sample_rate": found.sample_rate,
            "tempo": round(found.plan.tempo, 3),
            "key": found.plan.key,
            "joint_flux_db": round(found.joint.flux, 2),
            "usual_flux_db": round(found.usual, 2),
        },
        f"{found.bars} bars, {found.seconds:.3f} s, {found.plan.tempo:.5g} bpm, {found.plan.key}",
        as_json=as_json,
        quiet=quiet,
    )


def target_of(file: Path, output: Path | None, what: str, *others: Path | None) -> Path:
    """Return where the result goes, if a file can be written there: never over the files that it is made of."""
    from audiocraft.utils.files import check_apart
    from audiocraft.workflows.render import SUFFIXES, check_target

    suffix = file.suffix if file.suffix.lower() in SUFFIXES else ".wav"
    beside = file.with_name(f"{file.stem}-{what}{suffix}")
    target = check_target(recordable(output, "output") or unnamed(beside))
    check_apart([target], [file, *others])
    return target


def report(target: Path, facts: dict[str, Any], line: str, *, as_json: bool, quiet: bool) -> None:
    """Report what was made, for scripts or for people."""
    if as_json:
        document({"path": str(target), **facts})
        return
    if not quiet:
        note(f"{target}  {line}")
    if quiet or not is_terminal():
        result(str(target))


@app.command(
    epilog='Examples:\n\naudiocraft edit layers "funk in E minor, 104 bpm" -d 10 --seed 7 -o funk\n\n'
    'audiocraft edit layers "calm, 80 bpm" --layer bass="only synth bass" --layer pad="only strings"'
)
def layers(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What all layers have: style, tempo, key.")],
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=WORDS]",
            help="A layer: drums, bass, chords, melody, or a name with words of its own; by default these four.",
        ),
    ] = None,
    duration: Annotated[float, typer.Option("--duration", "-d", help="Seconds.")] = 10.0,
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The plan that they follow, from `audiocraft plan`.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the first layer; the next ones have those that follow.")] = 0,
    takes: Annotated[
        int, typer.Option(help="Of each layer, of which the one that keeps the beat best is taken.")
    ] = 1,
    model: options.PlanModel = "musicgen-nano",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="A folder for the layers and mix.wav.")
    ] = Path("layers"),
    as_json: options.Document = False,
    quiet: options.Silent = False,
) -> None:
    """Make drums, bass, chords and melody as files of their own that fit, and their sum."""
    from audiocraft.cli.plan import chart_for, check_takes_plans
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.models.loaders import load_model
    from audiocraft.utils.files import check_apart
    from audiocraft.workflows.editing.files import write_layers
    from audiocraft.workflows.editing.layers import WORDS
    from audiocraft.workflows.editing.layers import layers as make
    from audiocraft.workflows.takes import check_takes_count

    check_takes_plans(model)
    check_takes_count(takes)
    names = dict(_layer_of(one, WORDS) for one in layer or WORDS)
    check_apart([output / f"{name}.wav" for name in (*names, "mix")], [plan])
    chart = None if plan is None else chart_for(model, plan).plan()
    asked = GenerationRequest(prompts=(prompt,), duration=duration, seeds=(seed,))
    made = make(load_model(model), asked, names, plan=chart, takes=takes)
    paths = write_layers(output, made)
    facts = {
        "tempo": made.plan.tempo,
        "key": made.plan.key,
        "layers": [
            {"name": one.name, "path": str(path), "prompt": one.prompt, "seed": one.seed, "moved": one.moved}
            for one, path in zip(made.layers, paths, strict=False)
        ],
    }
    line = f"{', '.join(names)}: {made.plan.tempo:g} bpm, {made.plan.key}"
    report(paths[-1], facts, line, as_json=as_json, quiet=quiet)


def _layer_of(said: str, known: Mapping[str, str]) -> tuple[str, str]:
    """NAME or NAME=WORDS -> (name, words)."""
    name, _, words = said.partition("=")
    name, words = name.strip(), words.strip() or known.get(name.strip(), "")
    if not re.fullmatch(r"[\w-]{1,40}", name) or name == "mix" or not words:
        raise InvalidInput(
            f"layer {said!r} is none of {', '.join(known)}, and says no words of its own: bass='only synth bass'",
            field="layer",
        )
    return name, words


Words = Annotated[str | None, typer.Argument(metavar="PROMPT", help="What the new part should be.")]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]


@app.command(
    epilog='Examples:\n\naudiocraft edit redo song.wav 8-12 "with a flute" --seed 3\n\n'
    "audiocraft edit redo song.wav 0-4 -o other.flac"
)
def redo(
    file: File,
    region: Annotated[str, typer.Argument(metavar="START-END", help="In seconds, such as 8-12.")],
    prompt: Words = None,
    seed: Seed = 0,
    tempo: Tempo = None,
    model: options.PlanModel = "musicgen-nano",
    output: Output = None,
    as_json: options.Document = False,
    quiet: options.Silent = False,
) -> None:
    """Make a part of a piece anew; everything outside stays as it is, sample for sample."""
    from audiocraft.cli.kept import regions_of
    from audiocraft.workflows.editing.regions import redo as make

    target, place = target_of(file, output, "redone"), regions_of(region)
    if len(place) != 1:
        raise InvalidInput(f"one region at a time, such as 8-12; got {region!r}", field="region")
    _regional(file, target, prompt, seed, tempo, model, as_json, quiet)(
        lambda loaded, request, source: make(loaded, request, source, *place[0])
    )


@app.command(
    epilog="Examples:\n\naudiocraft edit extend song.wav --after 4\n\n"
    "audiocraft edit extend song.wav --before 2 -o longer.wav"
)
def extend(
    file: File,
    prompt: Words = None,
    before: Annotated[int, typer.Option(help="Bars more before its beginning.")] = 0,
    after: Annotated[int, typer.Option(help="Bars more behind its end.")] = 0,
    seed: Seed = 0,
    tempo: Tempo = None,
    model: options.PlanModel = "musicgen-nano",
    output: Output = None,
    as_json: options.Document = False,
    quiet: options.Silent = False,
) -> None:
    """Make a piece longer at its end or its beginning, in its tempo, bars and chords."""
    from audiocraft.workflows.editing.regions import extend_after, extend_before

    if bool(before) == bool(after):
        raise InvalidInput("say --before BARS or --after BARS; for both, extend twice", field="after")
    target = target_of(file, output, "longer")
    _regional(file, target, prompt, seed, tempo, model, as_json, quiet)(
        lambda loaded, request, source: (
            extend_before(loaded, request, source, before)
            if before
            else extend_after(loaded, request, source, after)
        )
    )


@app.command(
    epilog="Examples:\n\naudiocraft edit end song.wav\n\naudiocraft edit end song.wav --ending fade --bars 4"
)
def end(
    file: File,
    prompt: Words = None,
    ending: options.Ending = "ring",
    bars: Annotated[int, typer.Option(help="Bars in which it comes to rest.")] = 2,
    seed: Seed = 0,
    tempo: Tempo = None,
    model: options.PlanModel = "musicgen-nano",
    output: Output = None,
    as_json: options.Document = False,
    quiet: options.Silent = False,
) -> None:
    """Let a piece come to rest: bars behind its last one that end on its tonic."""
    from dataclasses import replace
    from typing import get_args

    from audiocraft.config.limits import EndingKind
    from audiocraft.workflows.editing.regions import extend_after

    if ending not in get_args(EndingKind):
        raise InvalidInput(
            f"ending {ending!r} is not one of {', '.join(get_args(EndingKind))}", field="ending"
        )
    how: Any = ending
    target = target_of(file, output, "ended")
    _regional(file, target, prompt, seed, tempo, model, as_json, quiet)(
        lambda loaded, request, source: extend_after(loaded, replace(request, ending=how), source, bars)
    )


@app.command(
    epilog='Examples:\n\naudiocraft edit restyle song.wav "house with synth bass and drums"\n\n'
    'audiocraft edit restyle song.wav "string quartet" --plan corrected.txt\n\n'
    'audiocraft edit restyle song.wav "flute and piano" -m jasco-nano'
)
def restyle(
    file: File,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The style, in words.")],
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its plan, where another would be heard.")
    ] = None,
    seed: Seed = 0,
    takes: Annotated[
        int, typer.Option(help="Make so many, and keep the one in which the style is clearest.")
    ] = 1,
    tune: Annotated[
        bool | None,
        typer.Option("--tune/--no-tune", help="Keep its tune too, with jasco-nano, which follows one."),
    ] = None,
    tempo: Tempo = None,
    model: options.PlanModel = "musicgen-nano",
    output: Output = None,
    as_json: options.Document = False,
    quiet: options.Silent = False,
) -> None:
    """Play the tempo, bars and chords of a piece in another style, and its tune with a model that follows one."""
    from audiocraft.audio.files import audio_read
    from audiocraft.checkpoints.facts import check_takes, find_facts
    from audiocraft.cli.plan import chart_for, check_takes_plans
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.models.loaders import load_model
    from audiocraft.workflows.editing.files import read_piece, write_piece
    from audiocraft.workflows.editing.styles import restyle as make
    from audiocraft.workflows.takes import check_takes_count

    target = target_of(file, output, "restyled", plan)
    check_takes_plans(model)
    told = find_facts(model) if tune else None
    if told is not None:
        told.check_takes("melody")
    chart = None if plan is None else chart_for(model, plan)
    check_takes_count(takes)
    if chart is None:
        piece = read_piece(file, tempo=tempo)
        known, heard = piece.plan, (piece.audio, piece.sample_rate)
    else:
        known, heard = chart.plan(), audio_read(file)
    loaded = load_model(model)
    if tune:  # what the tables say nothing of is known now
        check_takes(loaded.name, loaded.takes, "melody")
    made = make(
        loaded,
        GenerationRequest(prompts=(prompt,), seeds=(seed,)),
        known,
        takes=takes,
        tune_of=None if tune is False else heard,
    )
    write_piece(target, made.audio[0], made.sample_rate, title=prompt)
    facts = {
        "tempo": known.tempo,
        "key": known.key,
        "chords": [list(one) for one in known.chords],
        "seed": made.seeds[0],
    }
    line = f"{known.tempo:.5g} bpm, {known.key}, {' '.join(symbol for _, symbol in known.chords[:16])}"
    report(target, facts, line, as_json=as_json, quiet=quiet)


def _regional(
    file: Path,
    target: Path,
    prompt: str | None,
    seed: int,
    tempo: float | None,
    model: str,
    as_json: bool,
    quiet: bool,
) -> Callable[[Callable[[Any, Any, Any], Any]], None]:
    """Read a piece and a model for an edit, do it, write what comes of it, and say where it changed."""
    from audiocraft.cli.plan import check_takes_plans
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.models.loaders import load_model
    from audiocraft.workflows.editing.files import read_piece, write_samples
    from audiocraft.workflows.editing.regions import Source

    check_takes_plans(model)
    piece = read_piece(file, tempo=tempo)
    source = Source(audio=piece.audio, sample_rate=piece.sample_rate, plan=piece.plan)
    words = prompt if prompt is not None else piece.prompt

    def done(edit: Callable[[Any, Any, Any], Any]) -> None:
        made = edit(load_model(model), GenerationRequest(prompts=(words,), seeds=(seed,)), source)
        write_samples(target, made.audio, made.sample_rate, title=words or file.stem)
        start, end = (at / made.sample_rate for at in made.changed)
        facts = {
            "changed": [round(start, 6), round(end, 6)],
            "seconds": round(made.audio.shape[-1] / made.sample_rate, 6),
            "joints": [round(joint.at / made.sample_rate, 3) for joint in made.joints],
            "tempo": made.plan.tempo,
            "key": made.plan.key,
            "seed": made.seed,
        }
        line = f"changed from {start:.2f} to {end:.2f} s, {made.plan.tempo:.5g} bpm, {made.plan.key}"
        report(target, facts, line, as_json=as_json, quiet=quiet)

    return done
