"""`audiocraft models`: which models there are, what is inside one, fetching, checking and converting them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli.output import FAILED, document, note, result

if TYPE_CHECKING:
    from audiocraft.checkpoints.record import Checkpoint

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="A name, a folder, a file, an id on the hub, or an address.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the models that are here; `info NAME` shows one."""
    if context.invoked_subcommand is None:
        list_models(as_json)


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that are here."""
    from audiocraft.checkpoints.installed_models import here

    entries = [_described(name, folder) for name, folder in here().items()]
    if as_json:
        document({"models": entries})
        return
    for entry in entries:
        result(
            f"{entry['name']:<28} {entry['kind']:<14} {entry['megabytes']:>8.1f} MB  "
            f"{entry['license'] or 'licence unknown':<14} {entry['where']}"
        )


@app.command(
    epilog="Examples: `audiocraft models info nano`, `audiocraft models info ./state_dict.bin --json`."
)
def info(name: Name, as_json: Json = False) -> None:
    """Show what a model is made of, and under which licence its weights are."""
    with _bars():
        entry = _inspected(name)
    if as_json:
        document(entry)
        return
    for key, value in entry.items():
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        result(f"{key:<16} {'unknown' if shown is None else shown}")


@app.command(
    epilog="Examples: `audiocraft models pull small`, `audiocraft models pull facebook/encodec_32khz`."
)
def pull(name: Name, as_json: Json = False) -> None:
    """Fetch a model, its codec and its text encoder, so that it works without a network."""
    from audiocraft.checkpoints.licences import licence_of

    with _bars():
        parts = _parts(name)
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
def verify(name: Name, as_json: Json = False) -> None:
    """Check the files of a model and of its codec against the digests on record, and that the weights are numbers
    and fit."""
    from audiocraft.checkpoints.verify import check_files
    from audiocraft.models.detectors.detector import load_detector
    from audiocraft.models.loaders import load_compression_model, load_generator

    load: dict[str, Callable[[str], object]] = {
        "lm": load_generator,
        "compression": load_compression_model,
        "detector": load_detector,
    }
    with _bars():
        found = _read(name)
        # Loading is the check of names, shapes and values, and that the parts fit; it raises with the reason.
        load[found.kind](name)
        checks = {check.path: check for place in _places(name, found) for check in check_files(place)}
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
    "`audiocraft models convert ./my-model ./for-transformers --to transformers --dtype float16`."
)
def convert(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="Where to write the model.")],
    to: Annotated[str, typer.Option(help="ours, release (the original's files) or transformers.")] = "ours",
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
) -> None:
    """Write a model in another format, with its codec."""
    from audiocraft.models.conversion import convert as convert_model

    with _bars():
        written = convert_model(name, folder, to=to, dtype=dtype)  # type: ignore[arg-type]
    result(str(written))


@contextmanager
def _bars() -> Iterator[None]:
    """Downloads inside the block draw bars on stderr, where a person is watching."""
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


def _described(name: str, folder: Path) -> dict[str, Any]:
    from audiocraft.checkpoints.installed_models import header_of, kind_of
    from audiocraft.checkpoints.licences import licence_of

    meta: dict[str, Any] = header_of(folder).get("meta") or {}
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {
        "name": name,
        "kind": kind_of(folder) or "unknown",
        "megabytes": round(size / 1e6, 1),
        "license": licence_of(folder, meta, name),
        "where": str(folder),
    }


def _read(name: str) -> Checkpoint:
    from audiocraft.checkpoints.read import read
    from audiocraft.checkpoints.record import OtherKind
    from audiocraft.models.conversion import read_parts

    try:
        lm, codec = read_parts(name)
    except OtherKind as error:
        try:
            return read(name, kind="detector")
        except OtherKind:
            raise error from None
    found = lm or codec
    assert found is not None
    return found


def _places(name: str, found: Checkpoint) -> list[Path]:
    """Where the files of the model `found`, and of its codec, are."""
    from audiocraft.checkpoints.sources import resolve
    from audiocraft.config.networks import LMConfig
    from audiocraft.models.loaders import codec_name

    places = [resolve(name, kind=found.kind)]
    if found.kind == "lm":
        places.append(resolve(codec_name(name, LMConfig.select(found.config)), kind="compression"))
    return places


def _inspected(name: str) -> dict[str, Any]:
    from audiocraft.checkpoints.licences import licence_of
    from audiocraft.checkpoints.record import NAMES

    found = _read(name)
    return {
        "name": name,
        "kind": NAMES[found.kind],
        "file": str(found.source),
        "license": licence_of(found.source, found.meta, name),
        "parameters": sum(tensor.numel() for tensor in found.tensors.values()),
        "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in found.tensors.values()}),
        "meta": {
            key: value for key, value in found.meta.items() if isinstance(value, str | int | float | dict)
        },
        "config": _shape_of(found.config),
    }


def _parts(name: str) -> list[tuple[str, str, Path]]:
    """The parts of a model with where they lie, fetched where needed: (name, kind, path)."""
    from audiocraft.checkpoints.read import read
    from audiocraft.checkpoints.record import NAMES
    from audiocraft.config.networks import LMConfig
    from audiocraft.models.loaders import codec_name
    from audiocraft.modules.conditioners.t5 import find_t5

    found = _read(name)
    if found.kind != "lm":
        return [(name, NAMES[found.kind], found.source)]
    config = LMConfig.select(found.config)
    codec = codec_name(name, config)
    parts = [
        (name, "language model", found.source),
        (str(codec), "codec", read(codec, kind="compression").source),
    ]
    for entry in config.conditioners.values():
        text = getattr(entry, "name", None)
        if isinstance(text, str) and type(entry).__name__ == "T5Config":
            parts.append((text, "text encoder", find_t5(text)))
    return parts


def _shape_of(config: Any) -> dict[str, Any]:
    """The sections that shape the network; a release carries its whole training configuration."""
    wanted = ("sample_rate", "channels", "encodec", "seanet", "rvq", "dac", "chunking", "transformer_lm",
              "codebooks_pattern", "conditioners", "fuser", "max_duration", "compression_model_checkpoint",
              "window", "hop")  # fmt: skip
    return {key: config[key] for key in wanted if key in config}
