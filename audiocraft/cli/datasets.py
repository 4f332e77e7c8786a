"""`audiocraft data scan | caption | tokens | stats | example`: from a folder of recordings to what training reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from audiocraft.cli import options
from audiocraft.cli.output import document, note, result
from audiocraft.errors import InvalidInput

Source = Annotated[
    Path, typer.Argument(metavar="DIR|MANIFEST", help="Folder with recordings, or a manifest.")
]
Workers = Annotated[int, typer.Option(help="Threads that read.")]
_MOST_NAMED = 20


def add_to(app: typer.Typer) -> None:
    """Put these commands beside the others of `audiocraft data`."""
    app.command(
        epilog="Examples: `audiocraft data scan songs`, `audiocraft data scan songs --out egs/songs/data.jsonl.gz`."
    )(scan)
    app.command(
        epilog="Examples: `audiocraft data caption songs`, `audiocraft data caption egs/songs --force`."
    )(caption)
    app.command(
        epilog="Examples: `audiocraft data tokens egs/songs --codec nano`, "
        "`audiocraft data tokens egs/songs --codec small --codebooks 4 --webdataset shards`."
    )(tokens)
    app.command(epilog="Example: `audiocraft data stats egs/songs --json`.")(stats)
    app.command(
        epilog="Example: `audiocraft data example`, then `audiocraft train solver=musicgen/debug --folder runs/try`."
    )(example)


def scan(
    source: Source,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Manifest to write; default: DIR/data.jsonl.gz.")
    ] = None,
    workers: Workers = 2,
    as_json: options.Document = False,
) -> None:
    """Read every file to its end and list those that can be trained on; name broken, silent and double ones.

    A scan that was stopped goes on; one of the same files is done at once.
    """
    from audiocraft.data.manifest import save_audio_meta
    from audiocraft.data.survey import files_of, survey
    from audiocraft.utils.files import check_apart

    if out is None and not source.is_dir():
        raise InvalidInput(f"{source} is a manifest: say with --out where the new one goes", field="out")
    target = out or source / "data.jsonl.gz"
    files = files_of(source)
    if not files:
        raise InvalidInput(f"no audio files below {source}", field="source")
    check_apart([target], [source, *files], field="out")
    notes = target.with_name(target.name.partition(".")[0] + ".scan.jsonl")
    with _bar("reading") as report:
        entries = survey(files, notes, workers=workers, on_progress=report)
    used, faults = [e for e in entries if not e.fault], [e for e in entries if e.fault]
    if not used:
        raise InvalidInput(
            f"none of the {len(files)} files can be used; the first: {faults[0].fault}", field="source"
        )
    save_audio_meta(target, [entry.meta for entry in used])
    for entry in [*faults, *(e for e in used if e.remark)][: None if as_json else _MOST_NAMED]:
        note(f"{entry.path}: {f'left out, {entry.fault}' if entry.fault else entry.remark}")
    if len(faults) > _MOST_NAMED and not as_json:
        note(f"and {len(faults) - _MOST_NAMED} more, see {notes}")
    hours = sum(entry.seconds for entry in used) / 3600
    if as_json:
        left_out = [{"path": entry.path, "why": entry.fault} for entry in faults]
        document(
            {"manifest": str(target), "files": len(used), "hours": round(hours, 4), "left_out": left_out}
        )
        return
    note(f"{len(used)} files, {hours:.2f} hours; {len(faults)} left out")
    result(str(target))


def caption(
    source: Source,
    force: Annotated[
        bool, typer.Option("--force", help="Also where a JSON file tells a description.")
    ] = False,
) -> None:
    """Write a JSON file beside every recording: a description from its tags, a table or its name, and what is heard:
    tempo, key, loudness. Files that have one stay."""
    from audiocraft.data.survey import files_of
    from audiocraft.workflows.captioning import caption_files

    files = files_of(source)
    with _bar("listening") as report:
        written = caption_files(
            files, source if source.is_dir() else source.parent, force=force, on_progress=report
        )
    note(f"{written} of {len(files)} files captioned, the others had a description or cannot be read")
    result(str(source))


def tokens(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Manifest, or the folder it is in.")],
    codec: Annotated[str, typer.Option(help="Codec that encodes: a name, a folder, a run.")] = "nano",
    codebooks: Annotated[
        int | None, typer.Option(help="How many of its codebooks; default: as it is set.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the codes: `cache.path` of a run.")
    ] = Path("tokens"),
    webdataset: Annotated[
        Path | None, typer.Option(help="Also write them here as tar files, for other programs.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Workers = 2,
) -> None:
    """Encode the clips of a manifest, so that language models can be trained on their codes. What is there of the same
    clips, codec and codebooks is not made again."""
    import logging

    from audiocraft.cli.train import log_to_stderr
    from audiocraft.data.manifest import load_audio_meta, manifest_file
    from audiocraft.solvers.runs import load_codec
    from audiocraft.solvers.token_cache import TokenCache
    from audiocraft.solvers.token_shards import write_shards

    log_to_stderr()
    logging.getLogger("audiocraft").setLevel(logging.INFO)
    model = load_codec(codec, device)
    if codebooks is not None:
        model.set_num_codebooks(codebooks)
    metas, cache = load_audio_meta(manifest_file(source)), TokenCache(out, model, num_workers=workers)
    if webdataset is not None:
        result(str(write_shards(cache, source, metas, webdataset)))
        return
    found = cache.load(source, metas)
    unread = int((found.lengths == 0).sum())
    frames = int(found.lengths.sum())
    note(
        f"{len(metas) - unread} clips, {frames / model.frame_rate / 3600:.2f} hours; {unread} could not be read"
    )
    result(str(out / cache.name))


def stats(source: Source, as_json: options.Document = False) -> None:
    """What a data set is made of: lengths, rates, captions, tempos, keys, frequent words."""
    from audiocraft.audio.files import audio_info
    from audiocraft.data.manifest import load_audio_meta, manifest_file
    from audiocraft.data.statistics import statistics
    from audiocraft.data.survey import files_of
    from audiocraft.types import AudioMeta

    try:
        metas = load_audio_meta(manifest_file(source))
    except InvalidInput:
        if not source.is_dir():
            raise
        infos = [(path, audio_info(path)) for path in files_of(source)]
        metas = [AudioMeta(str(path), info.duration, info.sample_rate) for path, info in infos]
    found = statistics(metas)
    if as_json:
        document(found)
        return
    for name, value in found.items():
        shown = (
            ", ".join(f"{key} {number}" for key, number in value.items())
            if isinstance(value, dict)
            else value
        )
        result(f"{name.replace('_', ' '):<18} {shown if shown != '' else 'none'}")


def example(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where egs/ and dataset/ go.")] = Path(),
) -> None:
    """Write the data set of `dset=audio/example`: eight captioned sounds, made by rule."""
    from audiocraft.data.example import write_example

    result(str(write_example(folder)))


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr where a person is watching; Ctrl-C is heard between files."""
    from rich.console import Console
    from rich.progress import BarColumn as Bar
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from audiocraft.utils.interrupts import check_interrupted

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), Bar(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def report(done: int, total: int) -> None:
            check_interrupted()
            bar.update(task, completed=done, total=total)

        yield report
