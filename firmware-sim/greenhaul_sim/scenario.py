"""What a simulated day is like: a TOML file, or the defaults."""

import difflib
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from greenhaul_protocols.errors import ConfigError
from greenhaul_sim.streets import NANYANG_LATITUDE_DEG, NANYANG_LONGITUDE_DEG


@dataclass(frozen=True, slots=True)
class FleetPart:
    """[fleet]"""

    terminals: int = 24
    interval_s: float = 10.0  # between reports while the ignition is on, simulated
    parked_interval_s: float = 60.0  # while it is off
    speeding_share: float = 0.15  # of drivers
    speeding_factor: float = 1.25  # of the limit, for those


@dataclass(frozen=True, slots=True)
class AreaPart:
    """[area]"""

    latitude_deg: float = NANYANG_LATITUDE_DEG
    longitude_deg: float = NANYANG_LONGITUDE_DEG
    half_width_m: float = 5_000.0
    centre_radius_m: float = 900.0
    centre_share: float = 0.45  # of trips that end in the centre


@dataclass(frozen=True, slots=True)
class GnssPart:
    """[gnss]"""

    noise_m: float = 2.5  # standard deviation of an error that wanders over a minute


@dataclass(frozen=True, slots=True)
class LinkPart:
    """[link]"""

    outage_probability: float = 0.0  # a report
    outage_s: tuple[float, float] = (20.0, 120.0)  # simulated
    repeat_probability: float = 0.0  # a report is said again later, as 0x0704


@dataclass(frozen=True, slots=True)
class Scenario:
    """All parts."""

    fleet: FleetPart = field(default_factory=FleetPart)
    area: AreaPart = field(default_factory=AreaPart)
    gnss: GnssPart = field(default_factory=GnssPart)
    link: LinkPart = field(default_factory=LinkPart)


def read_scenario(path: Path) -> Scenario:
    """A scenario file. Raises ConfigError that names file, key and the nearest valid name."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    scenario: Scenario = _fill(Scenario, tables, str(path))
    return scenario


def to_toml(scenario: Scenario) -> str:
    """The file that reads as this scenario."""
    lines: list[str] = []
    for part in fields(scenario):
        lines.append(f"[{part.name}]")
        values = getattr(scenario, part.name)
        for each in fields(values):
            value = getattr(values, each.name)
            lines.append(f"{each.name} = {list(value) if isinstance(value, tuple) else value}")
    return "\n".join(lines) + "\n"


def _fill(cls: type[Any], values: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(cls)
    names = [each.name for each in fields(cls)]
    for name in values:
        if name not in hints:
            nearest = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {nearest[0]}?" if nearest else f"; known: {', '.join(names)}"
            raise ConfigError(f"{where}: unknown key {name}{hint}")
    return cls(
        **{name: _value(hints[name], value, f"{where}: {name}") for name, value in values.items()}
    )


def _value(kind: Any, value: Any, where: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and is_number and value >= -180:
        number = float(value)
        if where.endswith(("_probability", "_share")) and not 0 <= number <= 1:
            raise ConfigError(f"{where}: {number} is not between 0 and 1")
        return number
    if kind is int and isinstance(value, int) and is_number and value > 0:
        return value
    if kind == tuple[float, float] and isinstance(value, list) and len(value) == 2:
        low, high = (_value(float, each, where) for each in value)
        if 0 <= low <= high:
            return low, high
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__") and isinstance(value, dict):
        return _fill(kind, value, where)
    raise ConfigError(f"{where}: {value!r} will not do")
