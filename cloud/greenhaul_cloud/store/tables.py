"""The schema, declared once for SQLite and PostgreSQL.

Readings lie in one table a kind, keyed by *source* (a small integer standing for its name), so
claiming or moving a terminal touches no reading. Their columns come from the catalogue. Everything
that decides who may see a reading or what it means for a vehicle (bindings, attributes, fence
versions) has validity in time and stands beside them.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from greenhaul_cloud.store.fold_tables import dirty, fold_failure, fold_state
from greenhaul_cloud.store.reading_tables import readings, value_column
from greenhaul_cloud.store.schema import Instant, Json, Serial, metadata
from greenhaul_protocols.catalogue import KINDS

__all__ = [
    "Instant",
    "Json",
    "Serial",
    "dirty",
    "fold_failure",
    "fold_state",
    "metadata",
    "readings",
]

# -- who ---------------------------------------------------------------------------------------

enterprise = Table(
    "enterprise",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)

# Vehicles of one enterprise that somebody wants to see together.
fleet = Table(
    "fleet",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("enterprise_id", ForeignKey("enterprise.id"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "enterprise_id"),
)

vehicle = Table(
    "vehicle",
    metadata,
    Column("id", Text, primary_key=True),
    Column("plate", Text),
    Column("vin", Text),
    Column("enterprise_id", ForeignKey("enterprise.id")),
    Column("created_at", Instant, nullable=False),
    Column("fleet_id", ForeignKey("fleet.id")),
    Index(None, "enterprise_id"),
    Index(None, "fleet_id"),
)

# What fences' `applies_to` looks at; each row holds until the next of the same vehicle.
vehicle_attributes = Table(
    "vehicle_attributes",
    metadata,
    Column("vehicle_id", ForeignKey("vehicle.id"), primary_key=True),
    Column("valid_from", Instant, primary_key=True),
    Column("energy", Text),
    Column("class", Text),
    Column("tags", Json, nullable=False),
)

source = Table(
    "source",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("gateway_id", Text),  # the gateway that carried it last
    Column("first_stored_time", Instant),  # None: bound before its first reading came
    Column("last_received_time", Instant),
)

binding = Table(
    "binding",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("source_id", ForeignKey("source.id"), nullable=False),
    Column("vehicle_id", ForeignKey("vehicle.id"), nullable=False),
    Column("valid_from", Instant, nullable=False),
    Column("valid_to", Instant),
    Column("priority", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "source_id", "valid_from"),
    Index(None, "vehicle_id", "valid_from"),
)

user = Table(
    "user",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("enterprise_id", ForeignKey("enterprise.id")),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    CheckConstraint("role in ('admin', 'regulator', 'manager')", name="role"),
    CheckConstraint("role <> 'manager' or enterprise_id is not null", name="scope"),
)

# Bearer tokens and console sessions: only SHA-256 hashes of 256 random bits lie here.
token = Table(
    "token",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("user_id", ForeignKey("user.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
)

session = Table(
    "session",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("csrf_hash", LargeBinary, nullable=False),
    Column("user_id", ForeignKey("user.id"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index(None, "expires_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Json),
)

# -- what arrived --------------------------------------------------------------------------------

store_identity = Table(
    "store_identity",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("store_id", BigInteger, nullable=False),  # random, made with the store
    Column("created_at", Instant, nullable=False),
)

gateway = Table(
    "gateway",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sources", Json, nullable=False),  # granted names; a final * matches any rest
    Column("suggested_vehicle_id", Text),
    Column("created_at", Instant, nullable=False),
    Column("last_block_time", Instant),
    Column("is_online", Boolean),
)

# Locked by whoever stores for this gateway and epoch; revision grows with each receipt.
gateway_epoch = Table(
    "gateway_epoch",
    metadata,
    Column("gateway_id", ForeignKey("gateway.id"), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("first_block_time", Instant, nullable=False),
    Column("last_block_time", Instant, nullable=False),
)

lane = Table(
    "lane",
    metadata,
    Column("gateway_id", Text, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("lane", SmallInteger, primary_key=True),
    Column("settled", Text, nullable=False),  # [[first, last], …] as JSON, sorted, disjoint
    Column("stored", BigInteger, nullable=False),
    Column("duplicate", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("gateway_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("source", Text),  # None: the whole block
    Column("reason", Text, nullable=False),
    # Identity of the raw bytes, so a block sent again is kept once.
    Column("digest", BigInteger, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("stored_time", Instant, nullable=False),
    Column("released_at", Instant),
    Column("count", BigInteger, nullable=False),  # readings in it; 0 in a damaged block
    UniqueConstraint("gateway_id", "epoch", "lane", "first", "last", "digest"),
    Index(None, "stored_time"),
    Index(
        "ix_quarantine_waiting",
        *("gateway_id", "epoch", "lane", "first"),
        postgresql_where=text("released_at IS NULL"),
        sqlite_where=text("released_at IS NULL"),
    ),
)

_SOURCE_COUNTS = ("stored", "duplicate", "late", "unusable_time", "quarantined", "dropped")

# What came on each day (in the zone of `derive.timezone`, by stored time), numbers counted once.
gateway_day = Table(
    "gateway_day",
    metadata,
    Column("gateway_id", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in (*_SOURCE_COUNTS, "damaged")),
)

source_day = Table(
    "source_day",
    metadata,
    Column("source_id", ForeignKey("source.id"), primary_key=True),
    Column("day", Date, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in _SOURCE_COUNTS),
)

# Readings of a kind before this instant were deleted by retention; never goes back.
kept_from = Table(
    "kept_from",
    metadata,
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    Column("from_time", Instant, nullable=False),
)

position = readings[1]
battery = readings[2]

# The newest located position of every source whose time can be believed.
latest = Table(
    "latest",
    metadata,
    Column("source_id", ForeignKey("source.id"), primary_key=True),
    Column("device_time", Instant, nullable=False),
    Column("digest", BigInteger, nullable=False),
    Column("received_time", Instant, nullable=False),
    Column("stored_time", Instant, nullable=False),
    Column("time_quality", SmallInteger, nullable=False),
    *(value_column(spec) for spec in KINDS[1].fields if not spec.is_bytes),
)

# -- what it means -------------------------------------------------------------------------------

fence = Table(
    "fence",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", Instant, nullable=False),
    # Grows with every PUT that changed something: tells the fold that its index is old.
    Column("changed_at", Instant, nullable=False),
)

fence_version = Table(
    "fence_version",
    metadata,
    Column("fence_id", ForeignKey("fence.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("valid_from", Instant, nullable=False),
    Column("valid_to", Instant),
    Column("feature", Json, nullable=False),  # as it was put, with defaults filled in
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
)

# Days off and make-up working days, year by year, with the notice that says so.
calendar_year = Table(
    "calendar_year",
    metadata,
    Column("calendar", Text, primary_key=True),
    Column("year", Integer, primary_key=True),
    Column("plan", Json, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", Text, nullable=False),
)

visit = Table(
    "visit",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("vehicle_id", ForeignKey("vehicle.id"), nullable=False),
    Column("fence_id", ForeignKey("fence.id"), nullable=False),
    Column("fence_version", Integer, nullable=False),
    Column("entered_at", Instant, nullable=False),
    Column("entered_by", Text, nullable=False),
    Column("entered_certainty", Text, nullable=False),
    Column("entered_confirmed_at", Instant, nullable=False),
    Column("left_at", Instant),
    Column("left_by", Text, nullable=False),
    Column("left_certainty", Text),
    Column("left_confirmed_at", Instant),
    Column("certainty", Text, nullable=False),
    # Gaps it went on over: [[instant, confirmed], …] in ms; with the ends all a fold resumes from.
    Column("gaps", Json, nullable=False),
    Column("state", Text, nullable=False),  # standing, withdrawn
    Column("amended", Boolean, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Index(None, "vehicle_id", "entered_at"),
    Index(None, "vehicle_id", "left_confirmed_at"),  # a fold looks for what a change may touch
    Index(None, "fence_id", "entered_at"),
)

violation = Table(
    "violation",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("visit_id", ForeignKey("visit.id")),
    Column("vehicle_id", ForeignKey("vehicle.id"), nullable=False),
    Column("fence_id", ForeignKey("fence.id"), nullable=False),
    Column("fence_version", Integer, nullable=False),
    Column("rule", Text, nullable=False),
    Column("rule_index", SmallInteger, nullable=False),  # place of the rule in the fence's list
    Column("severity", Text, nullable=False),
    Column("began_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("window_began_at", Instant),
    Column("window_ended_at", Instant),
    Column("certainty", Text, nullable=False),
    Column("detail", Json, nullable=False),
    Column("evidence", Json, nullable=False),
    Column("state", Text, nullable=False),  # open, handled, withdrawn
    Column("handling", Json),
    Column("amended", Boolean, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Index(None, "visit_id"),
    Index(None, "vehicle_id", "began_at"),
    Index(None, "vehicle_id", "ended_at"),
    Index(None, "fence_id", "began_at"),
    Index(None, "began_at"),
)

# What a visit or violation was before, what it is, and why it changed.
amendment = Table(
    "amendment",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("visit_id", ForeignKey("visit.id")),
    Column("violation_id", ForeignKey("violation.id")),
    Column("at", Instant, nullable=False),
    Column("was", Json),
    Column("became", Json),
    Column("why", Text, nullable=False),
    Index(None, "violation_id"),
    Index(None, "visit_id"),
)

# What changed, in the order of its commits, for streams that must not skip: SSE, webhooks.
feed = Table(
    "feed",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("topic", Text, nullable=False),  # violations, visits, gateways
    Column("vehicle_id", Text),
    Column("body", Json, nullable=False),
    Index(None, "at"),
)
