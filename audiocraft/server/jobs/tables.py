"""The tables of the job database, for SQLite and PostgreSQL alike. Times are seconds since 1970."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("status", String(12), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("model", String(200), nullable=False),
    Column("request", JSON, nullable=False),
    Column("prompt", Text, nullable=False),  # of the request, to be searched
    Column("duration", Float, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("sample_rate", Integer),
    Column("channels", Integer),
    Column("attempts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("worker", String(120)),
    Column("lease_until", Float),
    Column("error", JSON),
    Column("result", JSON),
    Column("webhook_url", Text),
    Column("event_count", Integer, nullable=False),
    Column("understood", JSON),
    Index("jobs_by_status", "status", "lease_until"),
    Index("jobs_by_owner", "owner", "status"),
    Index("jobs_by_end", "finished_at"),
)

events = Table(
    "events",
    metadata,
    Column("job", String(40), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    PrimaryKeyConstraint("job", "sequence"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner", String(80), nullable=False),
    Column("key", String(255), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("job", String(40), nullable=False),
    Column("created_at", Float, nullable=False),
    PrimaryKeyConstraint("owner", "key"),
)

usage = Table(
    "usage",
    metadata,
    Column("owner", String(80), nullable=False),
    Column("period", String(24), nullable=False),  # "m:<minute>" or "d:<day>"
    Column("requests", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("ends_at", Float, nullable=False),
    PrimaryKeyConstraint("owner", "period"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("quota", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("name", String(200), nullable=False),
    Column("kind", String(12), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("sample_rate", Integer, nullable=False),
    Column("channels", Integer, nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float),  # when a piece was last made from it
    Index("uploads_by_owner", "owner", "created_at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("job", String(40), nullable=False),
    Column("owner", String(80), nullable=False),
    Column("event", String(40), nullable=False),
    Column("url", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float),  # None: delivered or given up
    Column("delivered", Boolean, nullable=False),
    Column("last_answer", String(200)),
    Column("created_at", Float, nullable=False),
    Index("deliveries_due", "next_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String(40), nullable=False),
    Column("models", JSON, nullable=False),
    Column("running", Integer, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("seen_at", Float, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
