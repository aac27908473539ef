"""${message}."""

import sqlalchemy as sa
from alembic import op

from greenhaul_cloud.store.tables import Instant, Json, Serial

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema here from the one before."""
    ${upgrades if upgrades else "pass"}
