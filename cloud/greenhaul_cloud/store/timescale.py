"""TimescaleDB: tables of readings cut into chunks of a day, older ones turned into columns.

Every call is by the names of 2.18 and later (`columnstore`, not `compress`). The extension is
never created here: it is found, or it is not there. Its Apache edition, which Debian and some
providers have, knows hypertables and neither columnstore nor policies.
"""

from sqlalchemy import Connection, text

# A day of a city's positions and its index fit into a small server's memory.
CHUNK = "1 day"
# Later than the longest expected backlog: what comes into a chunk of columns costs more.
COLUMNSTORE_AFTER = "7 days"


def version(conn: Connection) -> str | None:
    """The extension's version; None when this database does not have it."""
    query = text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    found = conn.execute(query).scalar()
    return None if found is None else str(found)


def has_columnstore(conn: Connection) -> bool:
    """Whether it is the edition with columnstore and policies."""
    query = text("SELECT current_setting('timescaledb.license', true)")
    return bool(conn.execute(query).scalar() != "apache")


def describe(conn: Connection) -> str:
    """One phrase for people."""
    found = version(conn)
    if found is None:
        return "without TimescaleDB (plain tables, no columnstore)"
    query = text(
        "SELECT count(*) FROM timescaledb_information.hypertables "
        "WHERE hypertable_schema = current_schema()"
    )
    count = conn.execute(query).scalar_one()
    if not count:
        return f"TimescaleDB {found} unused; run: greenhaul-cloud migrate"
    edition = "" if has_columnstore(conn) else " (Apache edition: no columnstore)"
    return f"TimescaleDB {found}{edition}, {count} hypertables"


def make_hypertable(conn: Connection, table: str) -> None:
    """Turn a table of readings into a hypertable, with columnstore where the edition has it.

    Nothing when it is one.
    """
    query = text(
        "SELECT 1 FROM timescaledb_information.hypertables "
        "WHERE hypertable_schema = current_schema() AND hypertable_name = :name"
    )
    if conn.execute(query, {"name": table}).first():
        return
    # chunks are excluded by time; a BRIN index on each would only cost
    conn.exec_driver_sql(f'DROP INDEX IF EXISTS "ix_{table}_device_time"')
    conn.exec_driver_sql(
        f"SELECT create_hypertable('{table}', by_range('device_time', INTERVAL '{CHUNK}'), "
        "create_default_indexes => false, migrate_data => true)"
    )
    if not has_columnstore(conn):
        return
    conn.exec_driver_sql(
        f'ALTER TABLE "{table}" SET (timescaledb.enable_columnstore, '
        "timescaledb.segmentby = 'source_id', timescaledb.orderby = 'device_time, digest')"
    )
    conn.exec_driver_sql(
        f"CALL add_columnstore_policy('{table}', after => INTERVAL '{COLUMNSTORE_AFTER}')"
    )


def set_retention(conn: Connection, table: str, days: int | None) -> None:
    """Let the extension drop chunks older than this, or nothing.

    The Apache edition does not by itself; housekeeping calls `drop_chunks` anyway.
    """
    if not has_columnstore(conn):
        return
    conn.exec_driver_sql(f"SELECT remove_retention_policy('{table}', if_exists => true)")
    if days is not None:
        conn.exec_driver_sql(f"SELECT add_retention_policy('{table}', INTERVAL '{days} days')")


def drop_chunks(conn: Connection, table: str, before: str) -> int:
    """Drop chunks that end before an instant (RFC 3339); how many."""
    query = text("SELECT count(*) FROM drop_chunks(:name, older_than => :before ::timestamptz)")
    return int(conn.execute(query, {"name": table, "before": before}).scalar_one())
