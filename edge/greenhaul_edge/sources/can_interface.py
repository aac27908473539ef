"""Opening a CAN interface of any make, with filters in the kernel; what the kernel lost."""

import os
import re
import socket
from pathlib import Path
from typing import Any

import can

from greenhaul_edge.config import CanSettings
from greenhaul_edge.sources.can_mapping import CanMapping

# Room for a second of a full 1 Mbit/s bus while the disk is busy; the kernel doubles it.
RECEIVE_SIZE = 1 << 20
# CAN_RAW_FILTER takes at most so many; above it everything is received and skipped here.
FILTERS_MAX = 512
_STANDARD_MASK, _EXTENDED_MASK = 0x7FF, 0x1FFFFFFF
# Data page, PF and PS; without PS, which is an address, below PF 240.
_PGN_MASK, _ADDRESSED_MASK = 0x03FFFF00, 0x03FF0000
_TRANSPORT_PGNS = (0xEC00, 0xEB00)
# Boot loaders of Arduino-like adapters wait so long for a new program.
_BOOT_S = 2.0
_COUNTERS = ("rx_dropped", "rx_over_errors", "rx_fifo_errors", "rx_missed_errors")


def filters_of(mapping: CanMapping) -> list[dict[str, Any]]:
    """The frames that matter, as python-can and the kernel take them; empty: all."""
    if not mapping.is_by_pgn:
        found = [
            {
                "can_id": frame_id,
                "can_mask": _EXTENDED_MASK if is_extended else _STANDARD_MASK,
                "extended": is_extended,
            }
            for frame_id, is_extended in mapping.by_key
        ]
    else:
        pgns = {pgn for pgn, _ in mapping.by_key} | set(_TRANSPORT_PGNS)
        found = [
            {
                "can_id": pgn << 8,
                "can_mask": _PGN_MASK if pgn >> 8 & 0xFF >= 240 else _ADDRESSED_MASK,
                "extended": True,
            }
            for pgn in sorted(pgns)
        ]
    return found if len(found) <= FILTERS_MAX else []


def open_bus(settings: CanSettings, filters: list[dict[str, Any]]) -> can.BusABC:
    """The bus, to be listened to only. Raises CanError, OSError or ValueError."""
    arguments: dict[str, Any] = {"channel": settings.channel, "interface": settings.interface}
    if settings.bitrate is not None:
        arguments["bitrate"] = settings.bitrate
    if settings.interface == "slcan":
        arguments["listen_only"] = True
        # Adapters with a boot loader start anew when they are opened. A pseudo terminal (a serial
        # port over the network) has none.
        is_pseudo = os.path.realpath(settings.channel).startswith("/dev/pts/")
        arguments["sleep_after_open"] = 0.0 if is_pseudo else _BOOT_S
    bus = can.Bus(**arguments, can_filters=filters or None)
    link = getattr(bus, "socket", None)
    if isinstance(link, socket.socket):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_SIZE)
    return bus


def kernel_losses(channel: str, root: Path = Path("/sys/class/net")) -> int | None:
    """Frames an interface's driver and the kernel lost since it is up; None if it does not say."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", channel):
        return None
    folder = root / channel / "statistics"
    total, was_told = 0, False
    for name in _COUNTERS:
        try:
            total += int((folder / name).read_text())
            was_told = True
        except (OSError, ValueError):
            continue
    return total if was_told else None
