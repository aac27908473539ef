"""Signals of a DBC file into catalogue fields, as a mapping file says."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cantools
from cantools.database.errors import Error as CantoolsError

from greenhaul_edge.toml_reader import Section, read_section, read_toml
from greenhaul_protocols.catalogue import KINDS, FieldSpec, KindSpec, Reading, TimeQuality
from greenhaul_protocols.errors import ConfigError

# Vehicles map tens of signals; a file with more is not a mapping.
SIGNALS_MAX = 500

_KINDS_BY_NAME = {kind.name: kind for kind in KINDS.values()}


@dataclass(frozen=True, slots=True)
class SignalSettings:
    """[[signals]]: value of the field = value of the signal × scale + offset"""

    signal: str  # MESSAGE.SIGNAL of the DBC file
    field: str  # kind.field of the catalogue, such as battery.soc_percent
    scale: float = 1.0
    offset: float = 0.0
    invalid: tuple[float, ...] = ()  # values of the signal that mean: not available


@dataclass(slots=True)
class CanCounts:
    """What a CAN source counts."""

    frames: int = 0
    unmapped: int = 0
    undecodable: int = 0
    readings: int = 0


@dataclass(frozen=True, slots=True)
class _Target:
    settings: SignalSettings
    signal: str
    kind: KindSpec
    spec: FieldSpec


@dataclass(slots=True)
class _Value:
    value: Any
    at_ms: int


@dataclass(slots=True)
class CanMapping:
    """Which signals of which frames become which fields."""

    database: Any
    by_frame: Mapping[tuple[int, bool], tuple[Any, tuple[_Target, ...]]]

    @property
    def frame_ids(self) -> list[tuple[int, bool]]:
        """(id, is extended) of the frames that matter."""
        return list(self.by_frame)


def load_mapping(path: Path) -> CanMapping:
    """A mapping file and the DBC file it names. Raises ConfigError."""
    top = read_toml(path)
    top.allow_only({"dbc", "signals"})
    dbc = top.take("dbc")
    if not isinstance(dbc, str):
        raise ConfigError(f"{path}: dbc must name the DBC file")
    try:
        database = cantools.database.load_file(path.parent / dbc)
    except (OSError, ValueError, CantoolsError) as error:
        raise ConfigError(f"{path}: dbc: {dbc}: {error}") from error
    tables = top.take("signals")
    if not isinstance(tables, list) or not 0 < len(tables) <= SIGNALS_MAX:
        raise ConfigError(f"{path}: needs 1 to {SIGNALS_MAX} [[signals]]")
    found: dict[tuple[int, bool], tuple[Any, list[_Target]]] = {}
    for number, table in enumerate(tables, start=1):
        section = Section(path, f"signals {number}", table)
        message, target = _target(section, read_section(section, SignalSettings), database)
        key = (message.frame_id, message.is_extended_frame)
        found.setdefault(key, (message, []))[1].append(target)
    by_frame = {key: (message, tuple(targets)) for key, (message, targets) in found.items()}
    return CanMapping(database, by_frame)


def _target(section: Section, settings: SignalSettings, database: Any) -> tuple[Any, _Target]:
    message_name, _, signal_name = settings.signal.partition(".")
    messages = {message.name: message for message in database.messages}
    section.choose("signal", message_name, messages)
    message = messages[message_name]
    section.choose("signal", signal_name, [signal.name for signal in message.signals])
    kind_name, _, field_name = settings.field.partition(".")
    section.choose("field", kind_name, _KINDS_BY_NAME)
    kind = _KINDS_BY_NAME[kind_name]
    fields = {spec.name: spec for spec in kind.fields if not spec.is_bytes}
    section.choose("field", field_name, fields)
    return message, _Target(settings, signal_name, kind, fields[field_name])


@dataclass(slots=True)
class SignalCollector:
    """The newest value of every mapped field; one reading a kind each time it is asked.

    Times are milliseconds of the boot's monotonic clock. A value older than `value_age_ms_max` is
    no longer said.
    """

    mapping: CanMapping
    source: str
    value_age_ms_max: int
    counts: CanCounts = field(default_factory=CanCounts)
    _values: dict[tuple[int, str], _Value] = field(default_factory=dict)
    _changed: dict[int, int] = field(default_factory=dict)  # kind: time of its newest value

    def take(self, frame_id: int, is_extended: bool, data: bytes, at_ms: int) -> None:
        """A data frame from the bus."""
        self.counts.frames += 1
        entry = self.mapping.by_frame.get((frame_id, is_extended))
        if entry is None:
            self.counts.unmapped += 1
            return
        message, targets = entry
        try:
            signals = message.decode(data, decode_choices=False)
        except (ValueError, KeyError, struct.error, CantoolsError):
            self.counts.undecodable += 1
            return
        for target in targets:
            value = signals.get(target.signal)
            if value is None or value in target.settings.invalid:
                continue
            scaled = value * target.settings.scale + target.settings.offset
            if target.spec.value_type == "flag":
                scaled = bool(scaled)
            elif target.spec.per_unit == 1:
                scaled = round(scaled)
            self._values[target.kind.number, target.spec.name] = _Value(scaled, at_ms)
            self._changed[target.kind.number] = at_ms

    def readings(self, now_ms: int, received_time_ms: int) -> list[Reading]:
        """One reading a kind that heard something since it was asked last."""
        found: list[Reading] = []
        oldest_ms = now_ms - self.value_age_ms_max
        for kind, at_ms in self._changed.items():
            values = {
                name: one.value
                for (of_kind, name), one in self._values.items()
                if of_kind == kind and one.at_ms >= oldest_ms
            }
            found.append(
                KINDS[kind].reading_class(
                    source=self.source,
                    device_time_ms=at_ms,
                    received_time_ms=received_time_ms,
                    time_quality=TimeQuality.GATEWAY,
                    **values,
                )
            )
        self._changed.clear()
        self.counts.readings += len(found)
        return found
