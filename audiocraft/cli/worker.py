"""`audiocraft worker`: runs jobs that servers on this or other machines accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from audiocraft.cli.output import note
from audiocraft.errors import require

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def worker(  # every option is one parameter: that is how the option parser reads them
    database: Annotated[
        str | None,
        typer.Option(
            "--database", envvar="AUDIOCRAFT_DATABASE", help="postgresql://…; by default SQLite in --data."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", envvar="AUDIOCRAFT_DATA_DIR", help="Folder of audio, shared with the servers."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", envvar="AUDIOCRAFT_MODEL", help="Loaded before the first job.")
    ] = "nano",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="MODEL", help="Only these models; repeat it. As the servers have it."
        ),
    ] = None,
    device: Annotated[str, typer.Option(envvar="AUDIOCRAFT_DEVICE", help="cpu or cuda.")] = "cpu",
    rows: Annotated[int, typer.Option(help="Jobs at a time.")] = 16,
    drain: Annotated[float, typer.Option(help="Seconds for running jobs when asked to stop.")] = 30.0,
    host: Annotated[str, typer.Option(help="Address of health and metrics.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of health and metrics; 0 chooses a free one.")] = 8001,
    adapters: Annotated[
        list[Path] | None,
        typer.Option(
            "--adapters",
            metavar="FOLDER",
            help="A folder of adapters that requests may name; repeat it. As the servers have it.",
        ),
    ] = None,
    watermark: Annotated[
        bool,
        typer.Option(
            "--watermark/--no-watermark",
            envvar="AUDIOCRAFT_WATERMARK",
            help="Mark all audio inaudibly as made by a machine. As the servers have it.",
        ),
    ] = True,
    log_format: Annotated[
        str, typer.Option("--log-format", help="json, text, or auto: JSON unless a terminal watches.")
    ] = "auto",
) -> None:
    """Take jobs from a database and run them until SIGTERM; then finish what runs, and give back what does not finish.

    Example: `audiocraft worker --database postgresql://user:password@db/audiocraft --data /mnt/audio --device cuda`.
    Health and metrics need no key: keep the port on a private network.
    """
    for module in ("fastapi", "uvicorn", "sqlalchemy", "alembic", "prometheus_client"):
        require(module, extra="serve")
    from audiocraft.config.serving import ServingConfig
    from audiocraft.server.ops import logs
    from audiocraft.server.serve import listening, serve
    from audiocraft.server.worker.app import create_worker_app
    from audiocraft.server.worker.local_engine import LocalEngine

    config = ServingConfig(
        host=host, port=port, database=database, music_model=model, preload=(model,), models=tuple(allow or ()),
        device=device, workers=1, require_key=False, watermark=watermark,
        adapters=tuple(map(str, adapters or ())),
    )  # fmt: skip
    config = replace(config, lease=replace(config.lease, rows=rows, drain_seconds=drain))
    if data is not None:
        config = replace(config, data_dir=str(data))
    logs.configure(form=log_format)
    with listening(config) as (listener, config):
        engine = LocalEngine.create(
            device=config.device, max_bytes=config.max_model_bytes, rows=rows, watermark=config.watermark
        )
        told = f"AudioCraft worker; health at {config.url}/healthz; Ctrl-C stops it"
        serve(create_worker_app(engine, config), config, listener, ready=lambda: note(told))
