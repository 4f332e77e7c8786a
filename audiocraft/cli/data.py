"""`audiocraft data`: make the synthetic corpus, and what training reads of recordings (`cli.datasets`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from audiocraft.cli import datasets
from audiocraft.cli.output import document, note, result
from audiocraft.errors import InvalidInput

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Make training data.",
)


@app.callback()
def data() -> None:
    """Make training data."""


@app.command(
    epilog="Examples: `audiocraft data synthesize --out corpus --hours 0.1` tries it in a minute; "
    "`audiocraft data synthesize --out corpus --hours 10 --seed 1` makes, goes on with or enlarges a corpus."
)
def synthesize(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the corpus.")],
    hours: Annotated[float, typer.Option(help="Hours of sound, all splits together.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same corpus.")] = 1,
    sounds_share: Annotated[float, typer.Option(help="Share of sound effects; the rest is music.")] = 0.15,
    workers: Annotated[int, typer.Option(help="Processes that render.")] = 2,
    soundfont: Annotated[
        Path | None,
        typer.Option(help="General MIDI sound font; default: AUDIOCRAFT_SOUNDFONT, else FluidR3."),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="plain: one sound font; wide: several, recordings, people, rooms.")
    ] = "plain",
    collage_share: Annotated[
        float, typer.Option(help="Share of layered recordings without captions (wide only).")
    ] = 0.0,
    packages: Annotated[
        Path, typer.Option(help="Unpacked packages with the sound fonts (wide only).")
    ] = Path("runs/packages"),
    materials: Annotated[
        Path, typer.Option(help="Recordings that `data materials` wrote (wide only).")
    ] = Path("runs/materials"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write captioned music and sound effects, made by rule, as WAV with labels and manifests.

    Music needs FluidSynth and sound fonts: `make corpus-deps`. A run that was cut off goes on where it stopped.
    """
    from audiocraft.data.synthesis.corpus import CorpusConfig
    from audiocraft.data.synthesis.corpus import synthesize as write_corpus

    config = CorpusConfig(
        out, hours, seed, sounds_share, workers, soundfont, recipe, collage_share, packages, materials
    )
    summary = write_corpus(config, progress=sys.stderr)
    if as_json:
        document(summary)
        return
    note(f"{summary['written']} of {summary['clips']} clips written, the others were there")
    result(str(out))


@app.command(epilog="Example: `audiocraft data materials` reads runs/packages and writes runs/materials.")
def materials(
    packages: Annotated[
        Path, typer.Option(help="Packages that `recipes/fetch_packages.sh` unpacked.")
    ] = Path("runs/packages"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the recordings.")] = Path(
        "runs/materials"
    ),
    evaluation: Annotated[
        Path | None, typer.Option(help="Also unpack, here, the music that is kept for `benchmarks/real.py`.")
    ] = None,
) -> None:
    """Gather freely licensed recordings for the wide corpus: instruments, loops, music and sounds, mono at 24 kHz."""
    from audiocraft.data.synthesis.materials import gather, unpack_evaluation

    found = gather(packages, out)
    if evaluation is not None:
        note(f"{len(unpack_evaluation(packages, evaluation))} tracks for evaluation alone")
    note(f"{len(found)} recordings, {sum(one.seconds for one in found) / 3600:.2f} hours")
    result(str(out))


@app.command(epilog="Example: `audiocraft data manifest recordings --out egs/recordings/data.jsonl.gz`.")
def manifest(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with audio files.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Manifest to write; default: DIR/data.jsonl.gz.")
    ] = None,
    complete: Annotated[bool, typer.Option(help="Measure the peak of every file too (slower).")] = False,
    workers: Annotated[int, typer.Option(help="Threads that read.")] = 4,
) -> None:
    """List every audio file below a folder, for training."""
    from audiocraft.data.manifest import DEFAULT_EXTS, find_audio_files, save_audio_meta
    from audiocraft.utils.files import check_apart

    target = out or folder / "data.jsonl.gz"
    metas = find_audio_files(folder, minimal=not complete, workers=workers)
    if not metas:
        raise InvalidInput(
            f"no audio below {folder} that can be read; looked for {', '.join(DEFAULT_EXTS)}", field="folder"
        )
    check_apart([target], [meta.path for meta in metas], field="out")
    save_audio_meta(target, metas)
    note(f"{len(metas)} files, {sum(meta.duration for meta in metas) / 3600:.2f} hours")
    result(str(target))


datasets.add_to(app)
