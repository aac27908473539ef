"""Column types both engines share, and the names of keys and indexes."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, MetaData, TypeDecorator
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from greenhaul_protocols.times import to_datetime, to_time_ms

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[int]):
    """Milliseconds since 1970 UTC in Python; timestamptz in PostgreSQL, INTEGER in SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type of the engine."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True, precision=3))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Milliseconds to what the driver takes."""
        if value is None or dialect.name != "postgresql":
            return value
        return to_datetime(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """None where values come as they are, so that none is touched."""
        return super().result_processor(dialect, coltype) if dialect.name == "postgresql" else None

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """What the driver gives to milliseconds."""
        if value is None or dialect.name != "postgresql":
            return value  # type: ignore[no-any-return]  # SQLite gives the integer back
        return to_time_ms(value)


# SQLite numbers rows only in a column of exactly INTEGER.
Serial = BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
# None is SQL null, not the JSON text null: `is null` in psql means what it says.
Json = JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
