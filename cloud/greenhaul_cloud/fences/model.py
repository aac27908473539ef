"""A fence, its versions in time, its rules and whom they bind.

Versions are immutable. `area` is WGS-84 longitude and latitude in degrees; being on the edge
counts as inside.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from shapely import MultiPolygon, Polygon

from greenhaul_cloud.fences.circle import Circle
from greenhaul_cloud.fences.rules import Rule, RuleName

Severity = Literal["info", "warning", "serious"]

# How the way between two readings is drawn: by their speeds and headings where they say any, or
# straight and even.
PathKind = Literal["curve", "straight"]

# The ends of time: far outside every instant RFC 3339 can say, well inside 64 bits.
ALWAYS_MS = -(2**62)
NEVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a vehicle is, as far as scopes ask. None: not known, so no list of values matches."""

    energy: str | None = None
    vehicle_class: str | None = None
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a fence version binds; an empty set asks nothing."""

    energy: frozenset[str] = frozenset()
    vehicle_class: frozenset[str] = frozenset()
    tags_any: frozenset[str] = frozenset()
    tags_none: frozenset[str] = frozenset()

    def matches(self, attributes: Attributes) -> bool:
        """Whether a vehicle with these attributes is bound."""
        return (
            (not self.energy or attributes.energy in self.energy)
            and (not self.vehicle_class or attributes.vehicle_class in self.vehicle_class)
            and (not self.tags_any or not self.tags_any.isdisjoint(attributes.tags))
            and self.tags_none.isdisjoint(attributes.tags)
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """How presence is judged."""

    confirm_s: float = 30.0
    hysteresis_m: float = 20.0
    gap_s: float = 120.0
    gap_m: float = 2000.0
    path: PathKind = "curve"

    @property
    def confirm_ms(self) -> int:
        """How long a side must hold, in milliseconds."""
        return round(self.confirm_s * 1000)


@dataclass(frozen=True, slots=True)
class FenceVersion:
    """One version: an area and its rules, valid in [valid_from_ms, valid_to_ms).

    circle: where there is one, it is the area exactly, and `area` a polygon just around it.
    """

    fence_id: str
    version: int
    area: Polygon | MultiPolygon
    rules: tuple[Rule, ...] = ()
    settings: Settings = field(default=Settings())
    applies_to: Scope = field(default=Scope())
    name: str = ""
    severity: Severity = "serious"
    timezone: str = "Asia/Shanghai"
    valid_from_ms: int = ALWAYS_MS
    valid_to_ms: int = NEVER_MS
    circle: Circle | None = None

    def rule(self, name: RuleName) -> Rule | None:
        """The rule of that name, if the version has it."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def has_area_of(self, other: "FenceVersion") -> bool:
        """Whether the geometry is the same, vertex by vertex: then dwell runs on."""
        if self.circle != other.circle:
            return False
        return self.area is other.area or self.area.wkb == other.area.wkb


@dataclass(frozen=True, slots=True)
class Fence:
    """All versions of one fence, in order of their beginning; a later one cuts an earlier short."""

    fence_id: str
    versions: tuple[FenceVersion, ...]

    @classmethod
    def of(cls, versions: Iterable[FenceVersion]) -> "Fence":
        """A fence of its versions, given in any order."""
        ordered = tuple(sorted(versions, key=lambda v: (v.valid_from_ms, v.version)))
        assert ordered, "a fence has at least one version"
        assert len({v.fence_id for v in ordered}) == 1, "versions of different fences"
        return cls(ordered[0].fence_id, ordered)

    def validity(self) -> list[tuple[int, int, FenceVersion]]:
        """Disjoint `(from_ms, to_ms, version)` in time order; half-open."""
        starts = [v.valid_from_ms for v in self.versions[1:]] + [NEVER_MS]
        return [
            (version.valid_from_ms, min(version.valid_to_ms, start), version)
            for version, start in zip(self.versions, starts, strict=True)
            if version.valid_from_ms < min(version.valid_to_ms, start)
        ]
