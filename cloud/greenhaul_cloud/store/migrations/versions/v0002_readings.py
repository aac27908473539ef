"""Tables of readings: one a kind, with the columns of the catalogue's first version."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

from greenhaul_cloud.store.tables import Instant, Serial

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DOUBLE = sa.Double[float]()
BIGINT = sa.BigInteger()
BOOLEAN = sa.Boolean()
TEXT = sa.Text()
BYTES = sa.LargeBinary()


def _columns(column_type: TypeEngine[Any], names: str) -> Iterator[sa.Column[Any]]:
    """Columns of one type that may be null, by names with spaces between."""
    return (sa.Column(name, column_type, nullable=True) for name in names.split())


def _create_readings(kind: str, *columns: sa.Column[Any]) -> None:
    """A table of one kind's readings: identity, how it came, the catalogue's columns."""
    op.create_table(
        kind,
        sa.Column("source_id", Serial, nullable=False),
        sa.Column("device_time", Instant(), nullable=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.Column("received_time", Instant(), nullable=False),
        sa.Column("stored_time", Instant(), nullable=False),
        sa.Column("time_quality", sa.SmallInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        *columns,
        sa.Column("extra", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f(f"fk_{kind}_source_id")),
        sa.PrimaryKeyConstraint("source_id", "device_time", "digest", name=op.f(f"pk_{kind}")),
    )


def upgrade() -> None:
    """Make a table for each kind."""
    _create_readings(
        "battery",
        *_columns(
            DOUBLE,
            """
            soc_percent soh_percent pack_voltage_v pack_current_a cell_voltage_max_v
            cell_voltage_min_v cell_temperature_max_c cell_temperature_min_c
        """,
        ),
        *_columns(BIGINT, "insulation_kohm charging_state fault_level"),
        *_columns(DOUBLE, "energy_remaining_kwh charging_power_kw range_km"),
        *_columns(BOOLEAN, "is_plugged"),
    )
    _create_readings(
        "cargo",
        *_columns(
            DOUBLE,
            """
            compartment_temperature_1_c compartment_temperature_2_c
            compartment_temperature_3_c compartment_temperature_4_c
        """,
        ),
        *_columns(BOOLEAN, "is_door_open"),
        *_columns(BIGINT, "load_kg"),
    )
    _create_readings(
        "drive",
        *_columns(DOUBLE, "speed_kmh odometer_km"),
        *_columns(BIGINT, "motor_speed_rpm"),
        *_columns(DOUBLE, "motor_torque_nm motor_temperature_c controller_temperature_c"),
        *_columns(BIGINT, "gear"),
        *_columns(DOUBLE, "accelerator_percent brake_percent"),
        *_columns(BOOLEAN, "is_ignition_on"),
    )
    _create_readings(
        "dropped",
        *_columns(BIGINT, "epoch lane first last from_time_ms to_time_ms"),
        *_columns(TEXT, "reason"),
    )
    _create_readings(
        "event",
        *_columns(TEXT, "code detail"),
        *_columns(BYTES, "raw"),
    )
    _create_readings(
        "media_part",
        *_columns(
            BIGINT,
            """
            media_id part_number part_total media_type media_format event_code channel
            size_bytes
        """,
        ),
        *_columns(BYTES, "data"),
    )
    _create_readings(
        "position",
        *_columns(DOUBLE, "latitude_deg longitude_deg altitude_m speed_kmh heading_deg"),
        *_columns(BIGINT, "satellites"),
        *_columns(DOUBLE, "hdop"),
        *_columns(BIGINT, "fix_quality"),
        *_columns(BOOLEAN, "is_located"),
        *_columns(DOUBLE, "odometer_km recorder_speed_kmh"),
        *_columns(BIGINT, "alarms status"),
        *_columns(DOUBLE, "fuel_l"),
        *_columns(BIGINT, "signal_strength"),
        *_columns(DOUBLE, "accuracy_m"),
        *_columns(BYTES, "items"),
    )
    _create_readings(
        "undecodable",
        *_columns(TEXT, "protocol reason"),
        *_columns(BYTES, "raw"),
    )
