"""`audiocraft worker`: runs jobs that servers on this or other machines accepted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli.grouped import grouped
from audiocraft.cli.output import note
from audiocraft.cli.serve_options import DatabaseUrl, LogFormat
from audiocraft.errors import require

if TYPE_CHECKING:
    from audiocraft.config.serving import ServingConfig

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSourceOptions:
    """These options say where jobs come from, and where their audio goes."""

    database: DatabaseUrl = None
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", envvar="AUDIOCRAFT_DATA_DIR", help="Folder of audio, shared with the servers."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerModelOptions:
    """These options say which models run, where, and how many jobs at a time."""

    model: Annotated[
        str, typer.Option("--model", "-m", envvar="AUDIOCRAFT_MODEL", help="Loaded before the first job.")
    ] = "nano"
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="MODEL", help="Only these models; repeat it. As the servers have it."
        ),
    ] = None
    device: Annotated[str, typer.Option(envvar="AUDIOCRAFT_DEVICE", help="cpu or cuda.")] = "cpu"
    rows: Annotated[int, typer.Option(help="Jobs at a time.")] = 16
    drain: Annotated[float, typer.Option(help="Seconds for running jobs when asked to stop.")] = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthOptions:
    """These options say where health and metrics are."""

    host: Annotated[str, typer.Option(help="Address of health and metrics.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="Of health and metrics; 0 chooses a free one.")] = 8001


@dataclass(frozen=True, kw_only=True, slots=True)
class ServersOptions:
    """These options are to be as the servers have them."""

    adapters: Annotated[
        list[Path] | None,
        typer.Option(
            "--adapters",
            metavar="FOLDER",
            help="A folder of adapters that requests may name; repeat it. As the servers have it.",
        ),
    ] = None
    watermark: Annotated[
        bool,
        typer.Option(
            "--watermark/--no-watermark",
            envvar="AUDIOCRAFT_WATERMARK",
            help="Mark all audio inaudibly as made by a machine. As the servers have it.",
        ),
    ] = True


@app.command()
@grouped
def worker(
    jobs: JobSourceOptions,
    models: WorkerModelOptions,
    health: HealthOptions,
    servers: ServersOptions,
    log_format: LogFormat = "auto",
) -> None:
    """Take jobs from a database and run them until SIGTERM; then finish what runs, and give back what does not finish.

    Example: `audiocraft worker --database postgresql://user:password@db/audiocraft --data /mnt/audio --device cuda`.
    Health and metrics need no key: keep the port on a private network.
    """
    for module in ("fastapi", "uvicorn", "sqlalchemy", "alembic", "prometheus_client"):
        require(module, extra="serve")
    from audiocraft.server.ops import logs
    from audiocraft.server.serve import listening, serve
    from audiocraft.server.worker.app import create_worker_app
    from audiocraft.server.worker.local_engine import LocalEngine

    config = _config(jobs, models, health, servers)
    logs.configure(form=log_format)
    with listening(config) as (listener, config):
        engine = LocalEngine.create(
            device=config.device,
            max_bytes=config.max_model_bytes,
            rows=config.lease.rows,
            watermark=config.watermark,
        )
        told = f"AudioCraft worker; health at {config.url}/healthz; Ctrl-C stops it"
        serve(create_worker_app(engine, config), config, listener, ready=lambda: note(told))


def _config(
    jobs: JobSourceOptions, models: WorkerModelOptions, health: HealthOptions, servers: ServersOptions
) -> ServingConfig:
    from audiocraft.config.serving import ServingConfig

    config = ServingConfig(
        host=health.host, port=health.port, database=jobs.database,
        music_model=models.model, preload=(models.model,), models=tuple(models.allow or ()),
        device=models.device, workers=1, require_key=False, watermark=servers.watermark,
        adapters=tuple(map(str, servers.adapters or ())),
    )  # fmt: skip
    config = replace(config, lease=replace(config.lease, rows=models.rows, drain_seconds=models.drain))
    return config if jobs.data is None else replace(config, data_dir=str(jobs.data))
