"""`audiocraft remote`: what the client can do, from the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli.grouped import grouped
from audiocraft.cli.language import say
from audiocraft.cli.output import document, note, result
from audiocraft.cli.remote_options import FollowedOptions, RemoteMannerOptions

if TYPE_CHECKING:
    from audiocraft.client import Client, Generation

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Use a server. Its address is --url or $AUDIOCRAFT_URL, the key $AUDIOCRAFT_API_KEY.",
)

Url = Annotated[str | None, typer.Option("--url", help="Address of the server; by default this machine.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="As `generate` and `jobs` print them.")]


@app.command()
@grouped
def generate(
    prompt: Annotated[str, typer.Argument(help="What it should sound like.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the file here; the suffix is the format.")
    ] = None,
    *,
    followed: FollowedOptions,
    manner: RemoteMannerOptions,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the result, or print the id.")
    ] = True,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Ask for a piece; wait for it and write it with -o, else print its id."""
    from audiocraft.utils.files import check_apart

    if output is not None:
        check_apart([output], [followed.audio, followed.drums, followed.tune])
    with _client(url) as client:
        piece = client.submit(prompt, **followed.fields(), **manner.fields())
        if wait or output is not None:
            try:
                _follow(client, piece)
                piece = client.wait(piece)
            except KeyboardInterrupt:
                client.cancel(piece)
                raise
        if output is not None:
            client.download(piece, output)
        if as_json:
            document(piece.raw)
            return
        for remark in _remarks(piece):
            note(remark)
        compared = (piece.result or {}).get("takes")
        if compared is not None:
            note(compared["line"])
        result(str(output) if output is not None else piece.id)


def _remarks(piece: Generation) -> list[str]:
    """Return what of the prompt did not count, as the server says."""
    told = piece.understood or {}
    said = [f"{piece.model} does not know: {', '.join(told['unknown'])}"] if told.get("unknown") else []
    if told.get("suggestion"):
        said.append(told["suggestion"]["said"])
    return said + [remark["said"] for remark in told.get("notes") or ()]


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(help="How many.")] = 20,
    status: Annotated[list[str] | None, typer.Option(metavar="STATUS", help="Only these; repeat it.")] = None,
    words: Annotated[str | None, typer.Option("--search", help="Words of the prompt.")] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """List your pieces, the newest first."""
    filters: dict[str, Any] = {name: value for name, value in (("status", status), ("q", words)) if value}
    with _client(url) as client:
        found = list(client.generations(limit=limit, **filters))
    if as_json:
        document({"generations": [piece.raw for piece in found]})
        return
    for piece in found:
        result(
            f"{piece.id}  {piece.status:<10} {piece.progress:>4.0%}  {piece.duration:>6g} s  {piece.prompt}"
        )


@app.command()
def show(job: Annotated[str, typer.Argument(metavar="ID")], url: Url = None) -> None:
    """Print everything about a piece as JSON."""
    with _client(url) as client:
        document(client.get(job).raw)


@app.command()
def download(
    job: Annotated[str, typer.Argument(metavar="ID")],
    output: Annotated[Path, typer.Argument(help="The suffix is the format.")],
    url: Url = None,
) -> None:
    """Write the file of a finished piece."""
    with _client(url) as client:
        result(str(client.download(job, output)))


@app.command()
def stream(
    job: Annotated[str, typer.Argument(metavar="ID")],
    format: Annotated[str, typer.Option(help="wav, flac, mp3, opus or pcm.")] = "wav",
    url: Url = None,
) -> None:
    """Write the audio of a piece to stdout while it is made, for a player: … | ffplay -"""
    with _client(url) as client:
        for chunk in client.stream(job, format=format):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


@app.command()
def cancel(ids: JobIds, url: Url = None) -> None:
    """Stop pieces."""
    with _client(url) as client:
        for job in ids:
            result(f"{job}  {client.cancel(job).status}")


@app.command()
def delete(ids: JobIds, url: Url = None) -> None:
    """Forget pieces and their audio."""
    with _client(url) as client:
        for job in ids:
            client.delete(job)


@app.command()
def models(as_json: Json = False, url: Url = None) -> None:
    """List the models of the server."""
    with _client(url) as client:
        found, adapters = client.models(), client.adapters()
    if as_json:
        document({"models": found, "adapters": adapters})
        return
    for entry in found:
        state = "loaded" if entry["loaded"] else ""
        result(f"{entry['id']:<32} {entry['kind']:<6} {state:<7} {entry['license'] or 'licence unknown'}")
    for entry in adapters:
        result(f"{entry['id']:<32} adapter of {entry['base']}")


@app.command()
def load(model: str, url: Url = None) -> None:
    """Load a model now."""
    with _client(url) as client:
        result(str(client.load(model)["id"]))


@app.command()
def unload(model: str, url: Url = None) -> None:
    """Free the memory of a model."""
    with _client(url) as client:
        result(str(client.unload(model)["id"]))


@contextmanager
def _client(url: str | None) -> Iterator[Client]:
    from audiocraft.client import Client

    with Client(url) as client:
        yield client


def _follow(client: Client, piece: Generation) -> None:
    """Show the progress of a piece where a person is watching."""
    if not sys.stderr.isatty():
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(piece.status, total=1.0)
        for event in client.events(piece):
            if event.kind == "progress":
                bar.update(task, completed=event.data["done"] / event.data["total"])
            elif event.kind == "retry":
                said = say(f"{event.data['reason']}: take {event.data['take']} of {event.data['of']}")
                bar.update(task, completed=0.0, description=said)
            elif event.kind != "audio":
                bar.update(task, description=event.kind)
    note(f"{piece.id}, seed {piece.seed}")
