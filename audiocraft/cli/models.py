"""`audiocraft models`: which models there are, and what is inside one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from audiocraft.cli.output import document, result

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, invoke_without_command=True)


@app.callback()
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the models that are here; `info NAME` shows one."""
    if context.invoked_subcommand is None:
        list_models(as_json)


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the models that are here."""
    entries = [_described(name, folder) for name, folder in _here().items()]
    if as_json:
        document({"models": entries})
        return
    for entry in entries:
        result(f"{entry['name']:<16} {entry['kind']:<12} {entry['megabytes']:>7.1f} MB  {entry['where']}")


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A name, a folder or a file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what a model is made of."""
    entry = _inspected(name)
    if as_json:
        document(entry)
        return
    for key, value in entry.items():
        result(
            f"{key:<16} {json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value}"
        )


def _here() -> dict[str, Path]:
    from audiocraft.checkpoints.sources import CONFIG_FILE, RELEASE_FILES, bundled, cache_dir

    found = dict(bundled())
    for mark in (CONFIG_FILE, *RELEASE_FILES.values()):
        for path in sorted(cache_dir().glob(f"*/*/{mark}")):
            found.setdefault(str(path.parent.relative_to(cache_dir())), path.parent)
    return found


def _described(name: str, folder: Path) -> dict[str, Any]:
    from audiocraft.checkpoints.sources import CONFIG_FILE

    config = folder / CONFIG_FILE
    kind = (
        json.loads(config.read_text(encoding="utf-8")).get("kind", "foreign")
        if config.is_file()
        else "release"
    )
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {"name": name, "kind": kind, "megabytes": round(size / 1e6, 1), "where": str(folder)}


def _inspected(name: str) -> dict[str, Any]:
    from audiocraft.checkpoints.read import read
    from audiocraft.checkpoints.record import NAMES, Checkpoint, Kind
    from audiocraft.errors import CheckpointError

    kinds: tuple[Kind, ...] = ("lm", "compression")
    failures = []
    for kind in kinds:
        try:
            found: Checkpoint = read(name, kind=kind)
        except CheckpointError as error:
            failures.append(error)
            continue
        return {
            "name": name,
            "kind": NAMES[kind],
            "file": str(found.source),
            "parameters": sum(tensor.numel() for tensor in found.tensors.values()),
            "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in found.tensors.values()}),
            "meta": {
                key: value for key, value in found.meta.items() if isinstance(value, str | int | float | dict)
            },
            "config": _shape_of(found.config),
        }
    raise failures[0]


def _shape_of(config: Any) -> dict[str, Any]:
    """The sections that shape the network; a release carries its whole training configuration."""
    wanted = ("sample_rate", "channels", "encodec", "seanet", "rvq", "transformer_lm", "codebooks_pattern",
              "conditioners", "fuser", "max_duration", "compression_model_checkpoint")  # fmt: skip
    return {key: config[key] for key in wanted if key in config}
