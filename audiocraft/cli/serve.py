"""`audiocraft serve`: the HTTP server, and its API keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli import options
from audiocraft.cli.grouped import grouped
from audiocraft.cli.output import FAILED, document, note, result
from audiocraft.cli.serve_options import (
    AccessOptions,
    Data,
    DatabaseUrl,
    LogOptions,
    OfferedOptions,
    PlaceOptions,
    ServedModelOptions,
)
from audiocraft.errors import ConfigError, require

if TYPE_CHECKING:
    from audiocraft.config.serving import ServingConfig
    from audiocraft.server.jobs.admission import Quota
    from audiocraft.server.security.keys import KeyStore

_EXAMPLES = """Serve music over HTTP, with a page at /. Without options: on this machine only, with the bundled models.

Examples:

  audiocraft serve

  audiocraft serve --port 9000 --data ./jobs --model facebook/musicgen-small --device cuda

  audiocraft serve keys create phone && audiocraft serve --host 0.0.0.0

  audiocraft serve --database postgresql://user:password@db/audiocraft --workers 0
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, invoke_without_command=True)
keys = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, help="Make, list and revoke API keys."
)
app.add_typer(keys, name="keys")


@app.callback(help=_EXAMPLES)
@grouped
def serve(
    context: typer.Context,
    place: PlaceOptions,
    models: ServedModelOptions,
    access: AccessOptions,
    more: OfferedOptions,
    log: LogOptions,
) -> None:
    if context.invoked_subcommand is not None:
        return
    for module in ("fastapi", "uvicorn", "sqlalchemy", "alembic", "python_multipart", "prometheus_client"):
        require(module, extra="serve")
    _serve(_config(place, models, access, more), verbose=log.verbose, log_format=log.log_format)


def _config(
    place: PlaceOptions, models: ServedModelOptions, access: AccessOptions, more: OfferedOptions
) -> ServingConfig:
    from audiocraft.config.serving import ServingConfig, default_data_dir

    return ServingConfig(
        host=place.host, port=place.port, database=place.database,
        data_dir=default_data_dir() if place.data is None else str(place.data),
        music_model=models.model, preload=(models.model,), models=tuple(models.allow or ()),
        device=models.device, workers=models.workers, in_process=models.in_process,
        # Whoever is behind a proxy is reached by strangers.
        require_key=True if access.require_key or access.proxy else None,
        hosts=tuple(access.name or ()), cors_origins=tuple(access.origin or ()),
        trust_proxy=tuple(access.proxy or ()), log_prompts=access.log_prompts,
        adapters=tuple(map(str, more.adapters or ())), runs_dir=None if more.runs is None else str(more.runs),
        watermark=more.watermark,
    )  # fmt: skip


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE", help="generate, codec, analyze, admin; repeat it. Default: all but admin."
        ),
    ] = None,
    active: Annotated[int | None, typer.Option(help="Unfinished jobs at a time.")] = None,
    per_minute: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    seconds_per_day: Annotated[float | None, typer.Option(help="Seconds of audio a day.")] = None,
    data: Data = None,
    database: DatabaseUrl = None,
) -> None:
    """Make a key and print it. It is stored as a digest: nobody can look it up later."""
    from audiocraft.server.jobs.admission import Quota
    from audiocraft.server.security.keys import DEFAULT_SCOPES

    quota = Quota(active=active, requests_per_minute=per_minute, seconds_per_day=seconds_per_day)
    key, secret = _keys(data, database).create(name, scopes=tuple(scope or DEFAULT_SCOPES), quota=quota)
    note(f"{key.id} ({', '.join(key.scopes)})")
    result(secret)


@keys.command("list")
def list_keys(
    as_json: options.Document = False,
    data: Data = None,
    database: DatabaseUrl = None,
) -> None:
    """Show the keys, without their secrets."""
    from audiocraft.config.decode import encode
    from audiocraft.server.security.keys import ENVIRONMENT

    found = _keys(data, database).list()
    if as_json:
        document({"keys": [encode(key) for key in found]})
        return
    for key in found:
        state = "revoked" if key.revoked_at else "set at start" if key.name == ENVIRONMENT else "valid"
        limits = _limits(key.quota)
        result(f"{key.id}  {state:<12} {key.name:<20} {', '.join(key.scopes):<26}  {limits}")


def _limits(quota: Quota) -> str:
    """Return what a key may use, for people."""
    said = {
        "unfinished jobs": quota.active,
        "requests a minute": quota.requests_per_minute,
        "seconds a day": quota.seconds_per_day,
    }
    found = [f"{value:g} {what}" for what, value in said.items() if value is not None]
    return ", ".join(found) or "no limits"


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The id that `list` shows.")],
    data: Data = None,
    database: DatabaseUrl = None,
) -> None:
    """End a key; servers that run refuse it within seconds."""
    if not _keys(data, database).revoke(key):
        note(f"there is no valid key {key!r}")
        raise typer.Exit(FAILED)


@app.command()
def openapi() -> None:
    """Print the description of the HTTP interface."""
    require("fastapi", extra="serve")
    from audiocraft.config.serving import ServingConfig
    from audiocraft.server.app import create_app

    # Nothing is opened or written: the application is only described, not started.
    document(create_app(None, ServingConfig(workers=0)).openapi())


def _keys(data: Path | None, database: str | None) -> KeyStore:
    require("sqlalchemy", extra="serve")
    from audiocraft.config.serving import ServingConfig, default_data_dir

    config = ServingConfig(data_dir=str(data) if data is not None else default_data_dir(), database=database)
    return _store_of_keys(config)


def _store_of_keys(config: ServingConfig) -> KeyStore:
    from audiocraft.server.jobs.database import Database
    from audiocraft.server.security.keys import KeyStore

    found = Database(config.database_url)
    found.migrate()
    return KeyStore(found)


def _serve(config: ServingConfig, *, verbose: bool, log_format: str = "auto") -> None:
    from audiocraft.server.app import KEY_VARIABLE, create_app, no_key
    from audiocraft.server.ops import logs
    from audiocraft.server.serve import listening, serve
    from audiocraft.server.services import engine_of
    from audiocraft.server.worker.process import WorkerProcess

    if config.keys_required and not os.getenv(KEY_VARIABLE) and not _store_of_keys(config).any():
        raise ConfigError(no_key(config))  # before anything is started or logged
    with listening(config) as (listener, config):
        logs.configure(form=log_format, audit=verbose)
        engine = engine_of(config, log_form=log_format)
        if isinstance(engine, WorkerProcess):
            engine.launch()  # it loads its models while the server is put together
        note(f"AudioCraft is starting on {config.url}")
        told = f"AudioCraft on {config.url} (jobs in {config.data_dir}); Ctrl-C stops it"
        names = ", ".join(config.preload) or "the worker"
        if isinstance(engine, WorkerProcess):
            told += f"\nloading {names}; pieces that are asked for meanwhile wait"
        app = create_app(engine, config, wait_for_worker=False)
        serve(
            app, config, listener, ready=lambda: note(told), began=lambda: note(f"{names} is ready")
        )  # fmt: skip
