"""The one place where enterprise scope narrows a query."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, false, select

from greenhaul_cloud.store import tables


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows a caller may see. Every query of the API is narrowed by it.

    What lies outside does not exist for the caller: lists leave it out, ids answer 404.
    """

    enterprise_id: str | None  # None: every enterprise, and what belongs to none yet

    @property
    def is_whole(self) -> bool:
        """Whether everything is seen, unclaimed sources too."""
        return self.enterprise_id is None

    def admits(self, enterprise_id: str | None) -> bool:
        """Whether something of this enterprise is seen."""
        return self.is_whole or enterprise_id == self.enterprise_id

    def narrow(self, query: Select[Any], vehicle_id: ColumnElement[Any]) -> Select[Any]:
        """The query without rows whose vehicle is not seen; a null vehicle is nobody's."""
        if self.is_whole:
            return query
        own = select(tables.vehicle.c.id).where(
            tables.vehicle.c.enterprise_id == self.enterprise_id
        )
        return query.where(vehicle_id.in_(own))

    def narrow_enterprises(self, query: Select[Any], column: ColumnElement[Any]) -> Select[Any]:
        """The query without rows of other enterprises."""
        return query if self.is_whole else query.where(column == self.enterprise_id)

    def narrow_whole(self, query: Select[Any]) -> Select[Any]:
        """The query for callers who see everything; nothing for the others."""
        return query if self.is_whole else query.where(false())


EVERYTHING = Scope(None)
