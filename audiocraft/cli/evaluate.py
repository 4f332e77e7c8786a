"""`audiocraft evaluate`: how good a folder of audio is, in figures that say how sure they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli import options
from audiocraft.cli.bar import Bar
from audiocraft.cli.output import FAILED, complain, document, note, result

if TYPE_CHECKING:
    from audiocraft.workflows.evaluation.evaluate import Evaluation
    from audiocraft.workflows.evaluation.gate import Change

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_EXAMPLES = """Examples:

audiocraft evaluate out

audiocraft evaluate out --reference real_music --html report.html

audiocraft evaluate out --reference real.safetensors --json new.json --gate old.json

audiocraft evaluate new_model --against old_model --prompts prompts.txt"""


@app.command(epilog=_EXAMPLES)
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of audio, searched to the bottom.")],
    reference: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE", help="Audio to be like: a folder, or its statistics."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What the files were asked to be: JSON {name: prompt}, or a prompt per line; default: the .json "
            "beside each.",
        ),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Another folder, measured in the same way.")
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(help="Of the distances: a name or folder, or clap:NAME; default: embedder-nano."),
    ] = None,
    clap: Annotated[
        str | None, typer.Option(metavar="NAME", help="A CLAP that compares sound and prompt, such as clap.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON; - prints it.")
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write one page with players, the worst pieces first."),
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An earlier --json: exit 1 if a figure is worse beyond both intervals."
        ),
    ] = None,
    save_statistics: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the folder's statistics, to be a --reference later."),
    ] = None,
    quiet: options.NoBar = False,
) -> None:
    """Measure a folder of audio: distances from a reference, what its prompts asked for, faults, loudness.

    What was measured is remembered: the same command again, after an interruption too, measures only what is new.
    """
    from audiocraft.utils.files import check_apart
    from audiocraft.workflows.evaluation.gate import changes, missing, read_baseline

    for field, written in (("json", json_file), ("html", html_file), ("save_statistics", save_statistics)):
        check_apart([] if written is None else [written], [prompts, reference, gate], field=field)
    baseline = read_baseline(gate) if gate is not None else None
    found = _measured(folder, against, reference, prompts, embedder, clap, quiet=quiet)
    for each in found:
        for heard in each.heard:
            if heard.error is not None:
                complain(heard.error)
    _write(found, json_file, html_file, save_statistics)
    if json_file is None or str(json_file) != "-":
        _show(found)
    if baseline is None:
        return
    worse = [change for change in changes(found[0], baseline, str(gate)) if change.is_worse]
    gone = missing(found[0], baseline)
    _report(worse, gone)
    if worse or gone:
        raise typer.Exit(FAILED)


def _measured(
    folder: Path,
    against: Path | None,
    reference: Path | None,
    prompts: Path | None,
    embedder: str | None,
    clap: str | None,
    *,
    quiet: bool,
) -> list[Evaluation]:
    from audiocraft.metrics.embedders import CLAP, CLAP_CHECKPOINT
    from audiocraft.workflows.evaluation.evaluate import Evaluator

    with Bar(1, quiet=quiet, doing="measuring") as bar:
        evaluator = Evaluator(embedder, clap=CLAP_CHECKPOINT if clap == CLAP else clap, step=bar.measured)
        folders = [folder] if against is None else [folder, against]
        return [evaluator.evaluate(each, reference=reference, prompts=prompts) for each in folders]


def _write(
    found: list[Evaluation], json_file: Path | None, html_file: Path | None, statistics: Path | None
) -> None:
    import json

    from audiocraft.utils.files import atomic_write
    from audiocraft.workflows.evaluation.page import page

    if statistics is not None:
        found[0].vectors.save(statistics)
    if json_file is not None:
        content = found[0].document()
        if len(found) > 1:
            content["against"] = found[1].document()
        if str(json_file) == "-":
            document(content)
        else:
            atomic_write(json_file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if html_file is not None:
        atomic_write(html_file, page(found))


def _show(found: list[Evaluation]) -> None:
    """Show the table for people."""
    from audiocraft.workflows.evaluation.gate import Change

    first = found[0]
    result(f"embedder {first.embedder} ({first.digest}); {first.folder}: {first.size}")
    for each in found[1:]:
        result(f"against {each.folder}: {each.size}")
    if first.reference is not None:
        result(f"reference {first.reference}: {first.reference_size}")
    for figure in first.figures:
        cells = [f"{figure.name:<17}", f"{figure.shown:<18}"]
        if len(found) > 1:
            other = found[1].figure(figure.name)
            cells.append(f"{other.shown if other else '-':<18}")
            beyond = other is not None and Change(figure, other.measured).is_beyond
            cells.append("differs " if beyond else "        ")
        better = f", {figure.better} is better" if figure.better else ""
        result("  " + " ".join(cells) + f" {figure.count:>5} pieces  {figure.what}{better}")
    for each in found:
        for text in each.notes:
            note(f"{each.folder}: {text}")


def _report(worse: list[Change], gone: list[str]) -> None:
    for change in worse:
        note(f"worse: {change}")
    for name in gone:
        note(f"worse: {name} is no longer measured")
    if not worse and not gone:
        note("nothing is worse than before")
