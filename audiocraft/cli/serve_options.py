"""The options of `audiocraft serve` in records, in the order in which its help shows them, and those that `audiocraft
worker` has as well."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="AUDIOCRAFT_DATA_DIR", help="Folder of jobs and audio."),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database", envvar="AUDIOCRAFT_DATABASE", help="postgresql://…; by default SQLite in --data."
    ),
]
LogFormat = Annotated[str, typer.Option(help="json, text, or auto: JSON unless a terminal watches.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceOptions:
    """These options say where the server listens and where it keeps its jobs."""

    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's need a key.")
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="0 chooses a free one.")] = 8000
    data: Data = None
    database: DatabaseUrl = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModelOptions:
    """These options say which models run, and where."""

    model: Annotated[
        str, typer.Option("--model", "-m", envvar="AUDIOCRAFT_MODEL", help="For requests that name none.")
    ] = "nano"
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="MODEL", help="Only these models; repeat it. Default: all that are here."
        ),
    ] = None
    device: Annotated[str, typer.Option(envvar="AUDIOCRAFT_DEVICE", help="cpu or cuda.")] = "cpu"
    workers: Annotated[
        int, typer.Option(envvar="AUDIOCRAFT_WORKERS", help="0 leaves the jobs to `audiocraft worker`.")
    ] = 1
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Run the models in the server's own process.")
    ] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessOptions:
    """These options say who may use the server, and what is logged of their requests."""

    require_key: Annotated[bool, typer.Option("--require-key", help="Ask for a key on this machine too.")] = (
        False
    )
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="HOST", help="Another host name this server has; repeat it."),
    ] = None
    origin: Annotated[
        list[str] | None,
        typer.Option("--cors", metavar="URL", help="An origin whose pages may use the API; repeat it."),
    ] = None
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy",
            metavar="ADDRESS",
            help="Address of a proxy in front, which is believed; asks for a key.",
        ),
    ] = None
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts into the log.")] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferedOptions:
    """These options say what the server offers beside models, and how it marks audio."""

    adapters: Annotated[
        list[Path] | None,
        typer.Option(
            "--adapters",
            metavar="FOLDER",
            help="A folder of adapters that requests may name; repeat it.",
        ),
    ] = None
    runs: Annotated[
        Path | None,
        typer.Option(envvar="AUDIOCRAFT_RUNS", help="A folder of training runs, shown at /runs."),
    ] = None
    watermark: Annotated[
        bool,
        typer.Option(
            "--watermark/--no-watermark",
            envvar="AUDIOCRAFT_WATERMARK",
            help="Mark all audio that leaves the server inaudibly as made by a machine.",
        ),
    ] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class LogOptions:
    """These options say what is logged, and how."""

    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request.")] = False
    log_format: LogFormat = "auto"
