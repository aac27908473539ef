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


def is_empty(conn: Connection) -> bool:
    """Whether the database has no table at all."""
    return not inspect(conn).get_table_names()


def require_current(conn: Connection) -> None:
    """Raises ConfigError unless the schema is this version's, and says what to do."""
    found = revision_of(conn)
    head = _scripts().get_current_head()
    if found == head:
        return
    _require_known(found)
    raise ConfigError(
        f"store.url: the schema is {found or 'not ours'}, this version needs {head}; "
        "run: greenhaul-cloud migrate"
    )


def revision_of(conn: Connection) -> str | None:
    """The schema's version; None when it has none."""
    return MigrationContext.configure(conn).get_current_revision()


def upgrade(conn: Connection, to: str = "head") -> None:
    """Run the missing migrations. Raises ConfigError for a database of a newer version."""
    _require_known(revision_of(conn))
    if to != "head":
        _require_known(to)
    config = _config()
    config.attributes["connection"] = conn
    command.upgrade(config, to)


def _require_known(revision: str | None) -> None:
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision is not None and revision not in known:
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
