"""Opening a CAN interface of any make, with filters in the kernel; what the kernel lost."""

import os
import re
from pathlib import Path
from typing import Any

import can

from greenhaul_edge.config import CanSettings
from greenhaul_edge.sources.can_mapping import CanMapping
from greenhaul_edge.sources.can_poll import request_filters

# CAN_RAW_FILTER takes at most so many; above it everything is received and skipped here.
FILTERS_MAX = 512
_STANDARD_MASK, _EXTENDED_MASK = 0x7FF, 0x1FFFFFFF
# Data page, PF and PS; without PS, which is an address, below PF 240.
_PGN_MASK, _ADDRESSED_MASK = 0x03FFFF00, 0x03FF0000
_TRANSPORT_PGNS = (0xEC00, 0xEB00)
# Boot loaders of Arduino-like adapters wait so long for a new program.
_BOOT_S = 2.0
# How each of python-can's interfaces is told not to write, nor even to acknowledge. SocketCAN has
# it where the bitrate is set: `ip link set can0 type can bitrate 250000 listen-only on`. The others
# cannot; there the agent merely sends nothing.
LISTEN_ONLY: dict[str, dict[str, Any]] = {
    "cantact": {"monitor": True},
    "kvaser": {"driver_mode": False},  # canlib.DRIVER_MODE_SILENT
    "nixnet": {"listen_only": True},
    "pcan": {"state": can.BusState.PASSIVE},
    "seeedstudio": {"operation_mode": "silent"},
    "slcan": {"listen_only": True},
    "systec": {"state": can.BusState.PASSIVE},
    "vector": {"listen_only": True},
}
_COUNTERS = ("rx_dropped", "rx_over_errors", "rx_fifo_errors", "rx_missed_errors")


def filters_of(mapping: CanMapping, *, is_polling: bool = False) -> list[dict[str, Any]]:
    """The frames that matter, as python-can and the kernel take them; empty: all.

    is_polling: those of testers matter, too.
    """
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
    if is_polling:
        told = [(one.id, _EXTENDED_MASK, one.is_extended) for one in mapping.requests]
        found += [
            {"can_id": frame_id, "can_mask": mask, "extended": is_extended}
            for frame_id, mask, is_extended in (*request_filters(), *told)
        ]
    return found if len(found) <= FILTERS_MAX else []


def bus_arguments(settings: CanSettings) -> dict[str, Any]:
    """What python-can is told: who does not ask opens the bus to listen only."""
    arguments: dict[str, Any] = {"channel": settings.channel, "interface": settings.interface}
    if settings.bitrate is not None:
        arguments["bitrate"] = settings.bitrate
    if not settings.polling:
        arguments |= LISTEN_ONLY.get(settings.interface, {})
    if settings.interface == "slcan":
        # Adapters with a boot loader start anew when they are opened. A pseudo terminal (a serial
        # port over the network) has none.
        is_pseudo = os.path.realpath(settings.channel).startswith("/dev/pts/")
        arguments["sleep_after_open"] = 0.0 if is_pseudo else _BOOT_S
    return arguments


def open_bus(settings: CanSettings) -> can.BusABC:
    """The bus, with every frame on it. Raises CanError, OSError or ValueError."""
    if settings.interface == "socketcan":
        from greenhaul_edge.sources.can_socket import KernelCanBus  # where there is SocketCAN

        return KernelCanBus(settings.channel)
    return can.Bus(**bus_arguments(settings))


def narrow(settings: CanSettings, bus: can.BusABC, filters: list[dict[str, Any]]) -> None:
    """Let the kernel keep back what does not matter.

    Of the others most filter in Python, which saves nothing and hides error frames.
    """
    if settings.interface == "socketcan":
        bus.set_filters(filters or None)  # type: ignore[arg-type]  # dicts, as it documents


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
