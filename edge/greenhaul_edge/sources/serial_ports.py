"""Finding a serial port again: its number changes with every plugging, its identity does not."""

import re
from collections.abc import Callable, Iterable
from typing import Protocol

from serial.tools import list_ports

_USB = re.compile(r"usb:([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?::(.+))?")


class PortInfo(Protocol):
    """What the system knows of a port; pyserial's ListPortInfo."""

    device: str
    vid: int | None
    pid: int | None
    serial_number: str | None


def find_port(name: str, list_all: Callable[[], Iterable[PortInfo]] = list_ports.comports) -> str:
    """The path to open for a configured port, now.

    A path (also a udev link such as `/dev/serial/by-id/…`) is itself; `usb:1546:01a8` and
    `usb:1546:01a8:SERIAL` are looked up by vendor, product and serial number. Raises OSError when
    no such port is plugged in.
    """
    match = _USB.fullmatch(name)
    if match is None:
        return name
    vendor, product = int(match[1], 16), int(match[2], 16)
    found = [
        one.device
        for one in list_all()
        if (one.vid, one.pid) == (vendor, product) and match[3] in (None, one.serial_number)
    ]
    if not found:
        raise OSError(f"{name}: not plugged in")
    return min(found)
