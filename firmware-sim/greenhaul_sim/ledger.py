"""The ledger: one line for every report a server acknowledged, written when it did.

What stands here was promised to be kept; `greenhaul-sim verify` holds the store against it.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from greenhaul_protocols.errors import ConfigError, DecodeError
from greenhaul_protocols.jt808 import LocationReport
from greenhaul_protocols.jt808.border import signed_deg
from greenhaul_protocols.jt808.clock import time_ms_of
from greenhaul_protocols.times import format_time, parse_time

_SOUTH, _WEST = 1 << 2, 1 << 3


class Claim(NamedTuple):
    """What identifies a reading from outside, at the resolution of the wire."""

    device_time_ms: int
    latitude_e6: int
    longitude_e6: int
    speed_e1: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One acknowledged report."""

    terminal: str
    serial: int  # of the message that carried it
    message_id: int
    claim: Claim
    sent_at_ms: int  # when that message was first sent
    acked_at_ms: int

    def to_json(self) -> dict[str, Any]:
        """The line's keys and values (interfaces)."""
        return {
            "terminal": self.terminal,
            "serial": self.serial,
            "message_id": f"0x{self.message_id:04X}",
            "device_time": format_time(self.claim.device_time_ms),
            "latitude_deg": self.claim.latitude_e6 / 1_000_000,
            "longitude_deg": self.claim.longitude_e6 / 1_000_000,
            "speed_kmh": self.claim.speed_e1 / 10,
            "sent_at": format_time(self.sent_at_ms),
            "acked_at": format_time(self.acked_at_ms),
        }


def claim_of(report: LocationReport) -> Claim | None:
    """What a report says, signs applied; None if its time is no time."""
    time_ms = time_ms_of(report.device_time)
    if time_ms is None:
        return None
    latitude_deg = signed_deg(report.latitude_deg, bool(report.status & _SOUTH))
    longitude_deg = signed_deg(report.longitude_deg, bool(report.status & _WEST))
    return claim_from(time_ms, latitude_deg, longitude_deg, report.speed_kmh)


def claim_from(
    time_ms: int, latitude_deg: float, longitude_deg: float, speed_kmh: float | None
) -> Claim:
    """A claim from values as stored or read back."""
    return Claim(
        time_ms,
        round(latitude_deg * 1_000_000),
        round(longitude_deg * 1_000_000),
        round((speed_kmh or 0.0) * 10),
    )


class LedgerWriter:
    """Appends lines to a file and flushes them before it returns."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--ledger {path}: {error.strerror}") from error
        self.lines = 0

    def append(self, entries: Iterable[LedgerEntry]) -> None:
        """One line an entry. A crash of ours may cost the last line, never a wrong one."""
        lines = [json.dumps(entry.to_json()) + "\n" for entry in entries]
        self._file.writelines(lines)
        self._file.flush()
        self.lines += len(lines)

    def close(self) -> None:
        """Put the file on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_ledger(path: Path) -> Iterator[LedgerEntry]:
    """The entries of a ledger file.

    A last line without its end, which a killed writer leaves, is skipped: nothing says it was
    acknowledged. Raises DecodeError that names the line for anything else, ConfigError.
    """
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--ledger {path}: {error.strerror}") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                yield _entry(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise DecodeError(f"ledger {path} line {number}: {error!r}") from error


def _entry(line: dict[str, Any]) -> LedgerEntry:
    message_id = line["message_id"]
    return LedgerEntry(
        terminal=str(line["terminal"]),
        serial=int(line["serial"]),
        message_id=int(message_id, 16) if isinstance(message_id, str) else int(message_id),
        claim=claim_from(
            parse_time(line["device_time"]),
            float(line["latitude_deg"]),
            float(line["longitude_deg"]),
            float(line["speed_kmh"]),
        ),
        sent_at_ms=parse_time(line["sent_at"]),
        acked_at_ms=parse_time(line["acked_at"]),
    )
