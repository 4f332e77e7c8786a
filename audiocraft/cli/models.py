"""`audiocraft models`: which models there are, what is inside one, fetching, checking and converting them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.output import FAILED, document, note, remark, result

if TYPE_CHECKING:
    from audiocraft.checkpoints.facts import ModelFacts
    from audiocraft.checkpoints.families import ModelFamily, ModelPart

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="A name, a folder, a file, an id on the hub, or an address.")]


@app.callback()
def models(context: typer.Context, as_json: options.Document = False) -> None:
    """List the models that are here; `info NAME` shows one."""
    if context.invoked_subcommand is None:
        list_models(as_json)


@app.command("list")
def list_models(as_json: options.Document = False) -> None:
    """List the models that are here."""
    from audiocraft.checkpoints.installed_models import models_here

    entries = [_described(facts) for facts in models_here().values()]
    if as_json:
        document({"models": entries})
        return
    columns = ("NAME", "SHORT", "MAKES", "MB", "LICENCE")
    rows = [
        (
            entry["name"],
            ", ".join(entry["short"]) or "-",
            entry["makes"] or entry["title"],
            f"{entry['megabytes']:.1f}",
            entry["license"] or "unknown",
        )
        for entry in entries
    ]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if names := _fetchable({entry["name"] for entry in entries}):
        remark(f"can be fetched, by `audiocraft models pull NAME`: {', '.join(names)}")


def _fetchable(there: set[str]) -> list[str]:
    """Return the short names of published models that are not on this machine."""
    from audiocraft.checkpoints.families import families

    return [
        release.aliases[0]
        for family in families()
        for release in family.releases
        if release.aliases and release.repo not in there and not release.built_in
    ]


@app.command(
    epilog="Examples: `audiocraft models info musicgen-nano`, `audiocraft models info ./state_dict.bin --json`."
)
def info(name: Name, as_json: options.Document = False) -> None:
    """Show what a model is made of, and under which licence its weights are."""
    with _bars():
        entry = _inspected(name)
    if as_json:
        document(entry)
        return
    known = {key: value for key, value in entry.items() if value not in (None, []) or key == "license"}
    for line in _lines(known):
        result(line)


@app.command(
    epilog="Examples: `audiocraft models pull small`, `audiocraft models pull facebook/encodec_32khz`."
)
def pull(name: Name, as_json: options.Document = False) -> None:
    """Fetch a model, its codec and its text encoder, so that it works without a network."""
    from audiocraft.checkpoints.families import kind_of_exactly
    from audiocraft.checkpoints.licences import licence_of
    from audiocraft.checkpoints.read import read
    from audiocraft.models.loaders import fetched_family

    with _bars():
        family = fetched_family(name, kind=kind_of_exactly(name))
        own = read(name, kind=family.kind.name).source
        parts = [
            (name, family.kind.title, own),
            *((part.name, part.title, part.find()) for part in _parts(name, family)),
        ]
    entries = [
        {"name": called, "kind": kind, "license": licence_of(path, {}, called), "where": str(path)}
        for called, kind, path in parts
    ]
    if as_json:
        document({"parts": entries})
        return
    for entry in entries:
        result(f"{entry['kind']:<14} {entry['name']}  {entry['where']}")


@app.command(epilog="Example: `audiocraft models verify small`; the exit code is 1 if a file differs.")
def verify(name: Name, as_json: options.Document = False) -> None:
    """Check the files of a model and of its codec against the digests on record, and that the weights are numbers
    and fit."""
    from audiocraft.checkpoints.families import kind_of_exactly
    from audiocraft.checkpoints.sources import resolve
    from audiocraft.checkpoints.verify import check_files
    from audiocraft.models.loaders import fetched_family, load_model, load_part

    with _bars():
        # Loading is the check of names, shapes and values, and that the parts fit; it raises with the reason.
        family = fetched_family(name, kind=kind_of_exactly(name))
        if family.generates:
            load_model(name, device="cpu")
        else:
            load_part(name, kind=family.kind.name)
        parts = [part.find() for part in _parts(name, family) if part.kind is not None]
        places = [resolve(name, kind=family.kind.name), *parts]
        checks = {check.path: check for place in places for check in check_files(place)}
    entries = [
        {"file": str(check.path), "status": check.status, "sha256": check.sha256, "expected": check.expected}
        for check in checks.values()
    ]
    if as_json:
        document({"name": name, "files": entries})
    else:
        for entry in entries:
            result(f"{entry['status']:<8} {entry['sha256']}  {entry['file']}")
    if any(check.status == "differs" for check in checks.values()):
        note("a file is not the one that was recorded: fetch or convert the model again")
        raise typer.Exit(FAILED)


@app.command(
    epilog="Examples: `audiocraft models convert small ./small`, "
    "`audiocraft models convert ./my-model ./for-transformers --to transformers --dtype float16`, "
    "`audiocraft models convert nano ./for-phones --to onnx`."
)
def convert(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="Where to write the model.")],
    to: Annotated[
        str, typer.Option(help="ours, release (the original's files), transformers, or onnx (codecs).")
    ] = "ours",
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, float16 or bfloat16; in the format ours int8 too, a byte for each weight."
        ),
    ] = "float32",
) -> None:
    """Write a model in another format, with its codec."""
    from audiocraft.checkpoints.families import kind_of_exactly
    from audiocraft.models.conversion import convert as convert_model

    with _bars():
        kind = kind_of_exactly(name)
        written = convert_model(name, folder, to=to, dtype=dtype, kind=kind)  # type: ignore[arg-type]
    result(str(written))


@app.command(
    epilog="Examples: `audiocraft models merge musicgen-nano jazz.safetensors ./jazz`, "
    "`audiocraft models merge musicgen-nano jazz.safetensors:0.5 folk.safetensors:0.5 ./both`."
)
def merge(
    base: Annotated[str, typer.Argument(help="The model that the adapters are for.")],
    parts: Annotated[
        list[str],
        typer.Argument(metavar="FILE[:WEIGHT]... FOLDER", help="Adapters, then where to write the model."),
    ],
    to: Annotated[str, typer.Option(help="ours, release (the original's files) or transformers.")] = "ours",
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
) -> None:
    """Write a model with adapters added to its weights, as a model of its own."""
    from audiocraft.checkpoints.sources import with_adapters
    from audiocraft.errors import InvalidInput

    *adapters, folder = parts
    if not folder:
        raise InvalidInput(
            "FOLDER is an empty path; name where to write the model ('.' is the current folder)",
            field="folder",
        )
    if not adapters:
        raise InvalidInput(
            "merge takes a base, one adapter or more, and a folder to write to", field="adapter"
        )
    convert(with_adapters(base, adapters), Path(folder), to, dtype)


def _lines(entry: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a record for people: lists on one line, records indented below their name."""
    for key, value in entry.items():
        name = f"{indent}{key.replace('_', ' '):<{max(1, 18 - len(indent))}} "
        if isinstance(value, Mapping) and value:
            yield name.rstrip()
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list | tuple):
            yield name + (", ".join(map(_shown, value)) or "none")
        else:
            yield name + ("unknown" if value is None and not indent else _shown(value))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@contextmanager
def _bars() -> Iterator[None]:
    """Let downloads inside the block draw bars on stderr, where a person is watching."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from audiocraft.checkpoints.progress import reporting

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int | None) -> None:
            task = tasks.get(name)
            if task is None:
                task = tasks[name] = progress.add_task(name, total=total)
            progress.update(task, completed=done, total=total)

        with reporting(report):
            yield


def _described(facts: ModelFacts) -> dict[str, Any]:
    """Return a model of this machine in the list."""
    from audiocraft.checkpoints.families import kind_called

    size = 0
    if facts.where is not None:
        folder = facts.where if facts.where.is_dir() else facts.where.parent
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {
        "name": facts.name,
        "short": list(_short_names(facts)),
        "family": facts.family,
        "kind": facts.kind,
        "title": kind_called(facts.kind).title,
        "makes": facts.makes,
        "megabytes": round(size / 1e6, 1),
        "license": facts.license,
        "where": str(facts.where),
    }


def _short_names(facts: ModelFacts) -> tuple[str, ...]:
    """Return what else a published model is called, but the full names of others."""
    from audiocraft.checkpoints.families import kind_of_exactly, release_called

    released = release_called(facts.name, kind=facts.kind)
    aliases = () if released is None else released[1].aliases
    return tuple(name for name in aliases if kind_of_exactly(name) in (None, facts.kind))


def _inspected(name: str) -> dict[str, Any]:
    """Return all that `info` shows: facts first, then what its files hold, if it has any."""
    from audiocraft.checkpoints.facts import facts_of
    from audiocraft.checkpoints.families import family_called, kind_of_exactly
    from audiocraft.models.loaders import fetched_family

    family = fetched_family(name, kind=kind_of_exactly(name))
    facts = facts_of(name, kind=family.kind.name)
    told = {
        "name": name,
        "short": list(_short_names(facts)),
        "family": facts.family,
        "title": family.title,
        "kind": family_called(family.name).kind.title,
        "makes": facts.makes,
        "takes": sorted(facts.takes),
        "sample_rate": facts.sample_rate,
        "channels": facts.channels,
        "window": facts.window,
        "guidance": facts.guidance,
        "precisions": list(facts.precisions),
        "license": facts.license,
        "words": None if facts.vocabulary is None else facts.vocabulary.to_dict()["groups"],
    }
    return {**told, **_contents(name, family)}


def _contents(name: str, family: ModelFamily) -> dict[str, Any]:
    """Return what the files of a model hold, and the memory that it takes with each precision."""
    from audiocraft.checkpoints.families import release_called
    from audiocraft.checkpoints.licences import licence_of
    from audiocraft.checkpoints.read import read, stored_types
    from audiocraft.checkpoints.sources import local

    kind = family.kind.name
    memory = {"memory": _memory(name, kind)}
    released = release_called(name, kind=kind)
    if released is not None and released[1].built_in and local(name, kind=kind) is None:
        return memory
    found = read(name, kind=kind)
    return {
        **memory,
        "license": licence_of(found.source, found.meta, name),
        "file": str(found.source),
        "parameters": sum(tensor.numel() for tensor in found.tensors.values()),
        "dtypes": stored_types(found),
        "meta": {
            key: value
            for key, value in found.meta.items()
            if isinstance(value, str | int | float | dict) and key != "vocabulary"
        },
        "config": _shape_of(found.config),
    }


def _memory(name: str, kind: str) -> dict[str, str]:
    """Return what a model and its parts take on the CPU, by precision."""
    import torch

    from audiocraft.models.footprint import bytes_by_precision
    from audiocraft.utils.memory import gigabytes

    found = bytes_by_precision(name, device=torch.device("cpu"), kind=kind)
    return {precision: gigabytes(count) for precision, count in found.items()}


def _parts(name: str, family: ModelFamily) -> Sequence[ModelPart]:
    """Return what a model needs beside its own network."""
    from audiocraft.checkpoints.families import target
    from audiocraft.checkpoints.read import read

    if family.parts is None:
        return ()
    parts: Sequence[ModelPart] = target(family.parts)(name, read(name, kind=family.kind.name).config)
    return parts


def _shape_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections that shape the network; a release carries its whole training configuration."""
    wanted = ("sample_rate", "channels", "encodec", "seanet", "rvq", "dac", "chunking", "transformer_lm",
              "codebooks_pattern", "conditioners", "fuser", "max_duration", "compression_model_checkpoint",
              "window", "hop")  # fmt: skip
    return {key: config[key] for key in wanted if key in config}
