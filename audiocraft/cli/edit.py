"""`audiocraft edit`: what can be done to a piece that is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audiocraft.cli.output import document, is_terminal, note, result
from audiocraft.cli.words import recordable
from audiocraft.errors import InvalidInput

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The audio file to edit.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="wav, flac, mp3, ogg or opus by suffix; by default beside FILE."),
]
Tempo = Annotated[float | None, typer.Option(metavar="BPM", help="Its tempo, where another would be heard.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")]


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
    as_json: AsJson = False,
    quiet: Quiet = False,
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


def target_of(file: Path, output: Path | None, what: str) -> Path:
    """Where the result goes, if a file can be written there: never over the file that it is made of."""
    from audiocraft.workflows.render import SUFFIXES, check_target

    suffix = file.suffix if file.suffix.lower() in SUFFIXES else ".wav"
    target = check_target(recordable(output, "output") or file.with_name(f"{file.stem}-{what}{suffix}"))
    if target.resolve() == file.resolve():
        raise InvalidInput(f"{target} is what is edited; name another file", field="output")
    return target


def report(target: Path, facts: dict[str, Any], line: str, *, as_json: bool, quiet: bool) -> None:
    """What was made, for scripts or for people."""
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
    model: Annotated[str, typer.Option("--model", "-m", help="A model that takes plans.")] = "musicgen-nano",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="A folder for the layers and mix.wav.")
    ] = Path("layers"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make drums, bass, chords and melody as files of their own that fit, and their sum."""
    from audiocraft.cli.plan import chart_for, check_takes_plans
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.models.loaders import load_model
    from audiocraft.workflows.editing.files import write_layers
    from audiocraft.workflows.editing.layers import WORDS
    from audiocraft.workflows.editing.layers import layers as make

    check_takes_plans(model)
    names = dict(_layer_of(one, WORDS) for one in layer or WORDS)
    chart = None if plan is None else chart_for(model, plan).plan()
    asked = GenerationRequest(prompts=(prompt,), duration=duration, seeds=(seed,))
    made = make(load_model(model), asked, names, plan=chart)
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
