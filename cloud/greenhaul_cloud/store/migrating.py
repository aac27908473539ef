"""Schema versions: Alembic with the migrations packaged beside this module.

Alembic's own exceptions and configuration stay in here. Everything runs on a connection somebody
else opened, inside their transaction.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from greenhaul_protocols.errors import ConfigError

# Where Alembic notes the schema's version.
VERSION_TABLE = "alembic_version"
# A table of every version of ours, and of nobody else.
_OURS = "store_identity"


def is_empty(conn: Connection) -> bool:
    """Whether the database has no table at all."""
    return not inspect(conn).get_table_names()


def require_current(conn: Connection) -> None:
    """Raises ConfigError unless the schema is this version's, and says what to do."""
    _require_known(conn)
    found, head = revision_of(conn), _scripts().get_current_head()
    if found != head:
        raise ConfigError(
            f"store.url: the schema is {found}, this version needs {head}; "
            "run: greenhaul-cloud migrate"
        )


def revision_of(conn: Connection) -> str | None:
    """The schema's version; None when it has none."""
    return MigrationContext.configure(conn).get_current_revision()


def upgrade(conn: Connection, to: str = "head") -> None:
    """Run the missing migrations, on an empty database all of them.

    Raises ConfigError for a database of a newer version, or of somebody else.
    """
    if not is_empty(conn):
        _require_known(conn)
    if to != "head":
        _require_revision(to)
    config = _config()
    config.attributes["connection"] = conn
    command.upgrade(config, to)


def _require_known(conn: Connection) -> None:
    if not inspect(conn).has_table(_OURS):
        raise ConfigError(
            "store.url: the tables of something else are there; give greenhaul a database of its "
            "own"
        )
    _require_revision(revision_of(conn))


def _require_revision(revision: str | None) -> None:
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision not in known:
        raise ConfigError(
            f"store.url: the schema {revision} was written by a newer greenhaul; update this one"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
