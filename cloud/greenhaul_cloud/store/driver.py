"""What differs between the engines, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from greenhaul_cloud.store.batch import Rows
from greenhaul_cloud.store.claims import Claims
from greenhaul_protocols.catalogue import KindSpec


class Driver(Protocol):
    """One engine's own way with settings, locks and the hot insert."""

    read_options: Mapping[str, str]
    write_options: Mapping[str, str]
    migration_options: Mapping[str, str]
    # Whether several collectors gain anything by one store.
    is_shared: bool

    def create_engine(self, url: str) -> Engine:
        """An engine whose connections are set up for durability and UTC."""

    def check(self, engine: Engine) -> None:
        """Read the settings back. Raises ConfigError when a commit could be lost."""

    def describe(self, conn: Connection) -> str:
        """Engine and version, for people and for the log's first line."""

    def lock_migration(self, conn: Connection) -> None:
        """Let no other process migrate until this transaction ends."""

    def finish_migration(self, conn: Connection) -> None:
        """Once the schema is current: what the engine alone needs. Raises Rejected."""

    def prepare_insert(self, conn: Connection, batches: Sequence[Rows]) -> None:
        """Take what locks inserting these batches needs, before any row is touched."""

    def insert_new(self, conn: Connection, batch: Rows) -> NDArray[np.bool_]:
        """Insert rows whose identity is new; (n,) which of the batch's rows were."""

    def delete_before(self, conn: Connection, kind: KindSpec, before_ms: int, rows_max: int) -> int:
        """Delete readings older than an instant, about rows_max at most; how many it were.

        Older by their own time and by when they were stored: a clock that stands at 1999 takes
        nothing away at once. 0 when none are left. What cannot be counted (a chunk dropped whole,
        by its own time alone) counts as one.
        """

    def expect_retention(self, conn: Connection, kind: KindSpec, days: int | None) -> None:
        """Let the engine know how long readings of a kind are kept, if it deletes by itself."""

    def tidy(self, engine: Engine) -> None:
        """Give back what deleted rows took, as far as the engine does not by itself."""

    def lock_vehicles(self, conn: Connection, vehicle_ids: Sequence[str]) -> set[str]:
        """Take vehicles' locks until the transaction ends; those that no other holds."""

    def lock_feed(self, conn: Connection) -> None:
        """Number feed rows in the order of their commits until this transaction ends."""

    def open_claims(self, engine: Engine, idle_s: float) -> Claims:
        """As `Store.open_claims`."""
