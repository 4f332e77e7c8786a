"""A server with an engine that needs no model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

from fastapi.testclient import TestClient
from sqlalchemy import text

from audiocraft.config.serving import LeaseSettings, ServingConfig
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.store import JobStore

from .fakes import FACTS, FakeEngine
from .postgres import running


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a database that the migrations have made and nobody has written to: running them takes a third of the
    start of a server, and each test has a server of its own."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path.read_bytes()


@pytest.fixture
def config(tmp_path: Path, empty_database: bytes) -> ServingConfig:
    """Quick leases, everything in a temporary folder."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "audiocraft.db").write_bytes(empty_database)
    return ServingConfig(
        data_dir=str(tmp_path / "data"), music_model="fake", codec_model="codec", preload=(),
        hosts=("testserver",),  # as the test client calls it
        lease=LeaseSettings(seconds=2.0, heartbeat=0.2, poll=0.02, drain_seconds=5.0),
    )  # fmt: skip


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine, config: ServingConfig) -> Iterator[TestClient]:
    """A started server."""
    with TestClient(create_app(engine, config, catalogue=Catalogue(config, models=FACTS))) as started:
        yield started


@pytest.fixture
def idle(config: ServingConfig) -> Iterator[TestClient]:
    """A server whose jobs nobody runs."""
    config = replace(config, workers=0)
    with TestClient(create_app(None, config, catalogue=Catalogue(config, models=FACTS))) as started:
        yield started


@pytest.fixture(scope="session")
def postgres() -> Iterator[str | None]:
    """The address of a PostgreSQL server, or None where there is none."""
    with running() as url:
        yield url


@pytest.fixture
def postgres_url(postgres: str | None) -> str:
    """The address of an empty PostgreSQL database."""
    if postgres is None:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("pg8000")
    database = Database(postgres)
    with database.write() as connection:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))
    database.close()
    return postgres


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: SQLite, or what a test asks for by indirect parametrisation."""
    if getattr(request, "param", "sqlite") == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    path = tmp_path / "jobs.db"
    path.write_bytes(request.getfixturevalue("empty_database"))
    return f"sqlite:///{path}"


@pytest.fixture
def store(database_url: str) -> Iterator[JobStore]:
    database = Database(database_url)
    database.migrate()
    yield JobStore(database)
    database.close()
