"""What differs between the engines, and nothing else."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from greenhaul_cloud.store.batch import KindBatch


class Driver(Protocol):
    """One engine's own way with settings, locks and the hot insert."""

    read_options: Mapping[str, str]
    write_options: Mapping[str, str]

    def create_engine(self, url: str) -> Engine:
        """An engine whose connections are set up for durability and UTC."""

    def check(self, engine: Engine) -> None:
        """Read the settings back. Raises ConfigError when a commit could be lost."""

    def lock_migration(self, conn: Connection) -> None:
        """Let no other process migrate until this transaction ends."""

    def insert_new(self, conn: Connection, batch: KindBatch) -> NDArray[np.bool_]:
        """Insert rows whose identity is new; (n,) which of the batch's rows were."""

    def lock_vehicle(self, conn: Connection, vehicle_id: str) -> bool:
        """Take the vehicle's lock until the transaction ends; False when another holds it."""

    def lock_feed(self, conn: Connection) -> None:
        """Number feed rows in the order of their commits until this transaction ends."""
