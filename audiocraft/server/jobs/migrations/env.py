"""Run by Alembic with the connection that `Database.migrate` holds."""

from __future__ import annotations

from alembic import context

from audiocraft.server.jobs.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
