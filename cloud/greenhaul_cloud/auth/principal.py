"""Roles, and the scope each gives its holder."""

from dataclasses import dataclass
from enum import StrEnum

from greenhaul_cloud.store.scope import EVERYTHING, Scope


class Role(StrEnum):
    """What a user is here for."""

    ADMIN = "admin"  # runs the installation: everything
    REGULATOR = "regulator"  # sees every enterprise; draws fences, handles violations
    MANAGER = "manager"  # sees and runs the vehicles of one enterprise


@dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in caller."""

    user_id: int
    name: str
    role: Role
    enterprise_id: str | None

    @property
    def scope(self) -> Scope:
        """What this caller may see."""
        return Scope(self.enterprise_id) if self.role is Role.MANAGER else EVERYTHING
