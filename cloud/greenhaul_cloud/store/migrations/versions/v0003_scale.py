"""Readings in narrower rows, dates far from today apart; counters by day, retention, fleets.

Tables of readings are made anew and filled in the order of their keys. In PostgreSQL a kind's name
becomes a view over `{kind}_main` and `{kind}_odd`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

from greenhaul_cloud.store.schema import Instant, Serial

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

DOUBLE = sa.Double[float]()
REAL = sa.REAL[float]()
BIGINT = sa.BigInteger()
INTEGER = sa.Integer()
SMALLINT = sa.SmallInteger()
BOOLEAN = sa.Boolean()
TEXT = sa.Text()
BYTES = sa.LargeBinary()

_NARROWED = ("satellites", "fix_quality", "signal_strength")
_REALS = ("altitude_m", "speed_kmh", "heading_deg", "hdop", "recorder_speed_kmh", "fuel_l",
          "accuracy_m")  # fmt: skip


def upgrade() -> None:
    """Make readings anew, and add what is new."""
    _make_readings()
    _narrow_latest()
    _add_fleets()
    _add_days()
    with op.batch_alter_table("quarantine") as batch:
        batch.add_column(sa.Column("count", BIGINT, nullable=True))
    op.execute("UPDATE quarantine SET count = CASE first WHEN 0 THEN 0 ELSE last - first + 1 END")
    with op.batch_alter_table("quarantine") as batch:
        batch.alter_column("count", existing_type=BIGINT, nullable=False)
    op.create_index(op.f("ix_quarantine_stored_time"), "quarantine", ["stored_time"])
    op.create_index(
        op.f("ix_visit_vehicle_id_left_confirmed_at"), "visit", ["vehicle_id", "left_confirmed_at"]
    )
    op.create_index(
        op.f("ix_violation_vehicle_id_ended_at"), "violation", ["vehicle_id", "ended_at"]
    )


def _narrow_latest() -> None:
    # what does not fit stands in the reading's `extra`
    for names, limit in ((_NARROWED, 32_767), (_REALS, 99_999.94)):
        for name in names:
            op.execute(f"UPDATE latest SET {name} = NULL WHERE abs({name}) > {limit}")  # noqa: S608
    with op.batch_alter_table("latest") as batch:
        for name in _NARROWED:
            batch.alter_column(name, existing_type=BIGINT, type_=SMALLINT)
        for name in _REALS:
            batch.alter_column(name, existing_type=DOUBLE, type_=REAL)


def _add_fleets() -> None:
    op.create_table(
        "fleet",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("enterprise_id", TEXT, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["enterprise_id"], ["enterprise.id"], name=op.f("fk_fleet_enterprise_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet")),
    )
    op.create_index(op.f("ix_fleet_enterprise_id"), "fleet", ["enterprise_id"])
    with op.batch_alter_table("vehicle") as batch:
        batch.add_column(sa.Column("fleet_id", TEXT, nullable=True))
        batch.create_foreign_key(op.f("fk_vehicle_fleet_id"), "fleet", ["fleet_id"], ["id"])
    op.create_index(op.f("ix_vehicle_fleet_id"), "vehicle", ["fleet_id"])


def _add_days() -> None:
    counts = "stored duplicate late unusable_time quarantined dropped"
    op.create_table(
        "gateway_day",
        sa.Column("gateway_id", TEXT, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        *(sa.Column(name, BIGINT, nullable=False) for name in f"{counts} damaged".split()),
        sa.PrimaryKeyConstraint("gateway_id", "day", name=op.f("pk_gateway_day")),
    )
    op.create_table(
        "source_day",
        sa.Column("source_id", Serial, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        *(sa.Column(name, BIGINT, nullable=False) for name in counts.split()),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_source_day_source_id")),
        sa.PrimaryKeyConstraint("source_id", "day", name=op.f("pk_source_day")),
    )
    op.create_table(
        "kept_from",
        sa.Column("kind", SMALLINT, nullable=False),
        sa.Column("from_time", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_kept_from")),
    )


# -- readings ------------------------------------------------------------------------------------


def _columns(column_type: TypeEngine[Any], names: str) -> Iterator[sa.Column[Any]]:
    """Columns of one type that may be null, by names with spaces between."""
    return (sa.Column(name, column_type, nullable=True) for name in names.split())


def _make_readings() -> None:
    _remake(
        "position",
        wide=[*_columns(DOUBLE, "latitude_deg longitude_deg odometer_km"),
              *_columns(BIGINT, "alarms status")],
        middle=_columns(REAL, " ".join(_REALS)),
        narrow=_columns(SMALLINT, " ".join(_NARROWED)),
        rest=[*_columns(BOOLEAN, "is_located"), *_columns(BYTES, "items")],
    )  # fmt: skip
    _remake(
        "battery",
        middle=[
            *_columns(
                REAL,
                "soc_percent soh_percent pack_voltage_v pack_current_a cell_voltage_max_v "
                "cell_voltage_min_v cell_temperature_max_c cell_temperature_min_c",
            ),
            *_columns(INTEGER, "insulation_kohm"),
            *_columns(REAL, "energy_remaining_kwh charging_power_kw range_km"),
        ],
        narrow=_columns(SMALLINT, "charging_state fault_level"),
        rest=_columns(BOOLEAN, "is_plugged"),
    )
    _remake(
        "drive",
        wide=_columns(DOUBLE, "odometer_km"),
        middle=[
            *_columns(REAL, "speed_kmh"),
            *_columns(INTEGER, "motor_speed_rpm"),
            *_columns(REAL, "motor_torque_nm motor_temperature_c controller_temperature_c "
                            "accelerator_percent brake_percent"),
        ],
        narrow=_columns(SMALLINT, "gear"),
        rest=_columns(BOOLEAN, "is_ignition_on"),
    )  # fmt: skip
    _remake(
        "cargo",
        middle=[
            *_columns(REAL, "compartment_temperature_1_c compartment_temperature_2_c "
                            "compartment_temperature_3_c compartment_temperature_4_c"),
            *_columns(INTEGER, "load_kg"),
        ],
        rest=_columns(BOOLEAN, "is_door_open"),
    )  # fmt: skip
    _remake("event", rest=[*_columns(TEXT, "code detail"), *_columns(BYTES, "raw")])
    _remake("undecodable", rest=[*_columns(TEXT, "protocol reason"), *_columns(BYTES, "raw")])
    _remake(
        "dropped",
        wide=_columns(BIGINT, "epoch lane first last from_time_ms to_time_ms"),
        rest=_columns(TEXT, "reason"),
    )
    _remake(
        "media_part",
        wide=_columns(BIGINT, "media_id part_number part_total size_bytes"),
        narrow=_columns(SMALLINT, "media_type media_format event_code channel"),
        rest=_columns(BYTES, "data"),
    )


def _remake(
    kind: str,
    *,
    wide: Iterator[sa.Column[Any]] | Sequence[sa.Column[Any]] = (),
    middle: Iterator[sa.Column[Any]] | Sequence[sa.Column[Any]] = (),
    narrow: Iterator[sa.Column[Any]] | Sequence[sa.Column[Any]] = (),
    rest: Iterator[sa.Column[Any]] | Sequence[sa.Column[Any]] = (),
) -> None:
    """A kind's table with columns in order of their width, which leaves no gaps between them."""
    columns = [
        sa.Column("device_time", Instant(), nullable=False),
        sa.Column("digest", BIGINT, nullable=False),
        sa.Column("received_time", Instant(), nullable=False),
        sa.Column("stored_time", Instant(), nullable=False),
        *wide,
        sa.Column("source_id", INTEGER, nullable=False),
        *middle,
        sa.Column("time_quality", SMALLINT, nullable=False),
        sa.Column("flags", SMALLINT, nullable=False),
        *narrow,
        *rest,
        sa.Column("extra", TEXT, nullable=True),
    ]
    op.rename_table(kind, f"{kind}_before")
    _spare_large(kind)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f'ALTER INDEX "pk_{kind}" RENAME TO "pk_{kind}_before"')
        _create(f"{kind}_main", columns)
        _create(f"{kind}_odd", [column._copy() for column in columns])
        op.create_index(
            f"ix_{kind}_main_device_time", f"{kind}_main", ["device_time"], postgresql_using="brin"
        )
        op.create_index(f"ix_{kind}_odd_device_time", f"{kind}_odd", ["device_time"])
        op.execute(
            f'CREATE VIEW "{kind}" AS SELECT * FROM "{kind}_main" '  # noqa: S608
            f'UNION ALL SELECT * FROM "{kind}_odd"'
        )
        _refill(f"{kind}_main", kind, columns, "WHERE NOT " + _IS_ODD)
        _refill(f"{kind}_odd", kind, columns, "WHERE " + _IS_ODD)
    else:
        _create(kind, columns)
        _refill(kind, kind, columns)
    op.drop_table(f"{kind}_before")


_IS_ODD = "(device_time < now() - interval '400 days' OR device_time >= now() + interval '2 days')"


def _create(name: str, columns: Sequence[sa.Column[Any]]) -> None:
    key = sa.PrimaryKeyConstraint("source_id", "device_time", "digest", name=op.f(f"pk_{name}"))
    op.create_table(name, *columns, key)


def _refill(table: str, kind: str, columns: Sequence[sa.Column[Any]], where: str = "") -> None:
    names = ", ".join(f'"{column.name}"' for column in columns)
    op.execute(
        f'INSERT INTO "{table}" ({names}) SELECT {names} FROM "{kind}_before" '  # noqa: S608
        f"{where} ORDER BY source_id, device_time, digest"
    )


# Fields whose columns became narrower: name, number in the catalogue, steps a unit, highest steps.
_NARROWER = {
    "position": [
        ("altitude_m", 3, 10, 999_999), ("speed_kmh", 4, 10, 999_999),
        ("heading_deg", 5, 10, 999_999), ("satellites", 6, 1, 32_767), ("hdop", 7, 10, 999_999),
        ("fix_quality", 8, 1, 32_767), ("recorder_speed_kmh", 11, 10, 999_999),
        ("fuel_l", 14, 10, 999_999), ("signal_strength", 15, 1, 32_767),
        ("accuracy_m", 16, 10, 999_999),
    ],
    "battery": [
        ("soc_percent", 1, 10, 999_999), ("soh_percent", 2, 10, 999_999),
        ("pack_voltage_v", 3, 10, 999_999), ("pack_current_a", 4, 10, 999_999),
        ("cell_voltage_max_v", 5, 1000, 999_999), ("cell_voltage_min_v", 6, 1000, 999_999),
        ("cell_temperature_max_c", 7, 10, 999_999), ("cell_temperature_min_c", 8, 10, 999_999),
        ("insulation_kohm", 9, 1, 2**31 - 1), ("charging_state", 10, 1, 32_767),
        ("fault_level", 11, 1, 32_767), ("energy_remaining_kwh", 12, 10, 999_999),
        ("charging_power_kw", 13, 10, 999_999), ("range_km", 14, 10, 999_999),
    ],
    "drive": [
        ("speed_kmh", 1, 10, 999_999), ("motor_speed_rpm", 3, 1, 2**31 - 1),
        ("motor_torque_nm", 4, 10, 999_999), ("motor_temperature_c", 5, 10, 999_999),
        ("controller_temperature_c", 6, 10, 999_999), ("gear", 7, 1, 32_767),
        ("accelerator_percent", 8, 10, 999_999), ("brake_percent", 9, 10, 999_999),
    ],
    "cargo": [
        *((f"compartment_temperature_{n}_c", n, 10, 999_999) for n in range(1, 5)),
        ("load_kg", 6, 1, 2**31 - 1),
    ],
    "media_part": [
        ("media_type", 4, 1, 32_767), ("media_format", 5, 1, 32_767),
        ("event_code", 6, 1, 32_767), ("channel", 7, 1, 32_767),
    ],
}  # fmt: skip


def _spare_large(kind: str) -> None:
    """Numbers too large for their column to come go to `extra`, as new ones do."""
    before, large = f"{kind}_before", {}
    for name, number, per_unit, steps_max in _NARROWER.get(kind, []):
        large[name] = f'abs("{name}") * {per_unit} >= {steps_max} + 0.5', number, per_unit
    is_any = " OR ".join(is_large for is_large, _, _ in large.values())
    query = f'SELECT 1 FROM "{before}" WHERE {is_any or "1 = 0"} LIMIT 1'  # noqa: S608
    if op.get_bind().exec_driver_sql(query).first() is None:
        return
    for name, (is_large, number, per_unit) in large.items():
        steps = f'round("{name}" * {per_unit})'
        if op.get_bind().dialect.name == "postgresql":
            extra = (
                "(coalesce(extra, '{}')::jsonb || "
                f"jsonb_build_object('{number}', ({steps})::bigint))::text"
            )
        else:
            extra = f"json_set(coalesce(extra, '{{}}'), '$.\"{number}\"', CAST({steps} AS INTEGER))"
        op.execute(
            sa.text(
                f'UPDATE "{before}" SET extra = {extra}, "{name}" = NULL '  # noqa: S608
                f"WHERE {is_large}".replace(":", r"\:")
            )
        )
