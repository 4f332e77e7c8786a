"""What was understood of a request, and when an upload was last used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("understood", sa.JSON))
    op.add_column("uploads", sa.Column("used_at", sa.Float))
