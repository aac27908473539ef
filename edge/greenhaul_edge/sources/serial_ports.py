"""Finding a serial port again: its number changes with every plugging, its identity does not."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from serial.tools import list_ports

_USB = re.compile(r"usb:([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?::(.+))?")


class SerialPort(NamedTuple):
    """A port as the system lists it; None: not a USB one, or it does not say."""

    path: str
    vendor: int | None = None
    product: int | None = None
    serial_number: str | None = None


def plugged_ports() -> list[SerialPort]:
    """What is plugged in now."""
    return [
        SerialPort(one.device, one.vid, one.pid, one.serial_number) for one in list_ports.comports()
    ]


def find_port(name: str, list_all: Callable[[], Iterable[SerialPort]] = plugged_ports) -> str:
    """The path to open for a configured port, now.

    A path (also a udev link such as `/dev/serial/by-id/…`) is itself; `usb:1546:01a8` and
    `usb:1546:01a8:SERIAL` are looked up by vendor, product and serial number. Raises OSError when
    no such port is plugged in.
    """
    match = _USB.fullmatch(name)
    if match is None:
        return name
    wanted = int(match[1], 16), int(match[2], 16)
    found = [
        one.path
        for one in list_all()
        if (one.vendor, one.product) == wanted and match[3] in (None, one.serial_number)
    ]
    if not found:
        raise OSError(f"{name}: not plugged in")
    return min(found)
