"""The connection to SQLite or PostgreSQL: transactions, one clock for all replicas, and the version of the schema."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from audiocraft.errors import ConfigError, require

DATABASE_ERRORS = (DBAPIError, NoConnection)
"""Whatever a database may fail with: it refuses, it is away, or all connections to it are in use."""

_CLOCK_SECONDS = 60.0
# To a file: made when needed, then kept, because a new one costs as much as several transactions. More than threads.
_CONNECTIONS = 96
_MIGRATION_LOCK = 0x6175_6469
SCHEMA = "0002"
"""The newest revision in `migrations/versions`, which a database of this version has."""


class Database:
    """This object is one database, safe to use from many threads.

    Args:
        url: sqlite:///path or postgresql://user@host/name.
        clock: seconds since 1970, for tests; by default that of the database.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None) -> None:
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._turn = threading.Lock() if self.is_sqlite else nullcontext()
        self._clock = clock
        self._offset = 0.0
        self._offset_until = 0.0
        self._asking = threading.Lock()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that no other writer interrupts; an error inside undoes it."""
        # SQLite lets writers of other processes wait by sleeping; those of this one need not sleep to take turns.
        with (
            self._turn,
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees the database as it was when it began."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @property
    def near(self) -> bool:
        """Return whether a look at a row takes less time than handing it to another thread; readers wait for nobody."""
        return self.is_sqlite

    def now(self) -> float:
        """Return seconds since 1970 by the database's clock, so that leases mean the same on every machine."""
        if self._clock is not None:
            return self._clock()
        local = time.time()
        if not self.is_sqlite and local > self._offset_until:
            # One thread asks, the others take what is known: they may hold all connections, and must not wait for one.
            if self._asking.acquire(blocking=not self._offset_until):
                try:
                    self._ask_time()
                finally:
                    self._asking.release()
        return time.time() + self._offset

    def _ask_time(self) -> None:
        if time.time() <= self._offset_until:
            return
        try:
            with self.read() as connection:
                local = time.time()
                theirs = connection.execute(text("select extract(epoch from clock_timestamp())")).scalar_one()
        except DATABASE_ERRORS:
            if not self._offset_until:
                raise
            return  # it was right a minute ago
        self._offset, self._offset_until = float(theirs) - local, local + _CLOCK_SECONDS

    def migrate(self) -> None:
        """Bring the schema to this version; several processes may try at once. A database that has it already is
        looked at and left alone, for which nothing of Alembic is imported."""
        if self.is_sqlite:
            Path(str(self.engine.url.database)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._is_current():
            self._upgrade()
        self.now()  # the clocks are compared before there are transactions that would wait for it

    def _is_current(self) -> bool:
        """Return whether the schema is this version's; False also where there is none, or no answer."""
        try:
            with self.read() as connection:
                found = connection.execute(text("select version_num from alembic_version")).scalars().all()
        except DATABASE_ERRORS:
            return False
        return list(found) == [SCHEMA]

    def _upgrade(self) -> None:
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    # Parameters are hidden from errors, which are logged: prompts are among them.
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "the database must be given as sqlite:///path or postgresql://user@host/name"
        ) from error
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ConfigError("jobs must survive restarts: give the SQLite database a file")
        engine = create_engine(
            parsed,
            pool_size=_CONNECTIONS,
            max_overflow=0,
            hide_parameters=True,
            connect_args={"timeout": 10.0},
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        require("pg8000", extra="postgres")
        parsed = parsed.set(drivername="postgresql+pg8000")
        return create_engine(
            parsed, pool_size=8, max_overflow=16, pool_pre_ping=True, pool_recycle=600, hide_parameters=True
        )
    raise ConfigError(f"databases are SQLite or PostgreSQL, not {parsed.get_backend_name()}")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Transactions are begun by us (below): the driver's own way would upgrade readers to writers and fail when busy.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
