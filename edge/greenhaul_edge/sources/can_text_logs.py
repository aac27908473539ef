"""Recorded CAN traffic as text, a frame a line; lines that are no frame are passed over.

candump's log and screen forms, with any of its time stamps; GVRET (SavvyCAN) .csv; CRTD (OVMS);
lines of `seconds id length bytes`. python-can reads the first too, until a line is cut short.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import can

ReadLine = Callable[[str], can.Message | None]

# A format shows itself in so many lines, whatever comments stand above.
_LOOKED_AT = 100
# Lower times count from the begin of the log, or from the frame before.
_CLOCK_S_MIN = 1e8
_FRAME_SIZE_MAX = 64
# Flags of a SocketCAN id that candump leaves in.
_ERROR_FLAG, _ID_MASK = 0x20000000, 0x1FFFFFFF

_LOGGED = re.compile(r"\(([^)]*)\)\s+(\S+)\s+([0-9A-Fa-f]{3,8})#(\S*)")
_SHOWN = re.compile(
    r"\s*(?:\(([^)]*)\)\s+)?(\S+)\s+(?:[RT]X\s+\S\s+\S\s+)?([0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})"
    r"\s+\[(\d+)\](\s+remote request|(?:\s+[0-9A-Fa-f]{2})*)(?=\s|$)"
)
_CRTD = re.compile(r"(\d+\.\d+)\s+(\d?)R(11|29)\s+([0-9A-Fa-f]+)((?:\s+[0-9A-Fa-f]{2})*)\s*$")


def line_reader(path: Path) -> ReadLine | None:
    """What reads the lines of a text log; None: it is in none of these formats."""
    with path.open(encoding="latin-1") as file:
        lines = list(islice(file, _LOOKED_AT))
    if any(line.startswith("Time Stamp,ID,Extended") for line in lines[:1]):
        return _gvret_line
    for read_line in (_logged_line, _shown_line, _crtd_line, _spaced_line):
        found = [message for message in map(read_line, lines) if message is not None]
        if found:
            is_delta = read_line is _shown_line and _are_deltas(one.timestamp for one in found)
            return _Deltas(read_line) if is_delta else read_line
    return None


def read_lines(path: Path, read_line: ReadLine) -> Iterator[can.Message]:
    """The frames of a text log."""
    with path.open(encoding="latin-1") as lines:
        for line in lines:
            message = read_line(line)
            if message is not None:
                yield message


class _Deltas:
    """Adds up the times of candump -td, which count from the frame before."""

    def __init__(self, read_line: ReadLine) -> None:
        self._read_line = read_line
        self._at_s = 0.0

    def __call__(self, line: str) -> can.Message | None:
        message = self._read_line(line)
        if message is not None:
            self._at_s += message.timestamp
            message.timestamp = self._at_s
        return message


def _are_deltas(times_s: Iterable[float]) -> bool:
    times = list(times_s)
    return max(times) < _CLOCK_S_MIN and times != sorted(times)


def _logged_line(line: str) -> can.Message | None:
    """candump -l and -L: `(1594172461.968006) can0 1F0#0011`; FD: `1F0##1…`; remote: `1F0#R`."""
    match = _LOGGED.match(line)
    if match is None:
        return None
    time, channel, frame_id, rest = match.groups()
    if rest.startswith("R"):
        return _message(time, frame_id, channel, "", is_remote=True)
    is_fd = rest.startswith("#")
    return _message(time, frame_id, channel, rest[2:] if is_fd else rest.replace(".", ""))


def _shown_line(line: str) -> can.Message | None:
    """candump on the screen: `(0.1)  can0  1F0   [2]  00 11`, the time absolute or not at all."""
    match = _SHOWN.match(line)
    if match is None:
        return None
    time, channel, frame_id, size, data = match.groups()
    if "remote" in data:
        return _message(time or "0", frame_id, channel, "", is_remote=True)
    if len(data.split()) != int(size):
        return None
    return _message(time or "0", frame_id, channel, "".join(data.split()))


def _crtd_line(line: str) -> can.Message | None:
    """OVMS: `1524311386.811100 1R11 1F0 00 11`."""
    match = _CRTD.match(line)
    if match is None:
        return None
    time, channel, width, frame_id, data = match.groups()
    digits = frame_id.zfill(8 if width == "29" else 3)
    return _message(time, digits, channel or "1", "".join(data.split()))


def _gvret_line(line: str) -> can.Message | None:
    """Microseconds, hex id, is extended, (direction,) bus, length, bytes."""
    parts = line.strip().split(",")
    if len(parts) > 3 and not parts[3].isdigit():
        del parts[3]  # newer files have a direction before the bus
    try:
        time_s, size = int(parts[0]) / 1e6, int(parts[4])
        digits = f"{int(parts[1], 16):0{8 if parts[2].lower() == 'true' else 3}X}"
        data = "".join(f"{int(one, 16):02X}" for one in parts[5 : 5 + size])
    except (ValueError, IndexError):
        return None
    return _message(str(time_s), digits, parts[3], data) if len(data) == 2 * size else None


def _spaced_line(line: str) -> can.Message | None:
    """Seconds, hex id, length, bytes in hex."""
    parts = line.split()
    try:
        size, frame_id = int(parts[2]), int(parts[1], 16)
        data = "".join(f"{int(one, 16):02X}" for one in parts[3 : 3 + size])
    except (ValueError, IndexError):
        return None
    digits = f"{frame_id:0{8 if frame_id > 0x7FF else 3}X}"
    return _message(parts[0], digits, "0", data) if len(data) == 2 * size else None


def _message(
    time: str, frame_id: str, channel: str, data: str, *, is_remote: bool = False
) -> can.Message | None:
    """frame_id: more than three digits are an extended one. None for what cannot be."""
    number = int(frame_id, 16)
    try:
        content = bytes.fromhex(data)
        at_s = _seconds(time)
    except ValueError:
        return None
    is_extended = len(frame_id) > 3 and not number & _ERROR_FLAG
    if len(content) > _FRAME_SIZE_MAX or (not is_extended and number & ~_ERROR_FLAG > 0x7FF):
        return None
    return can.Message(
        timestamp=at_s,
        arbitration_id=number & _ID_MASK,
        is_extended_id=is_extended,
        is_error_frame=bool(number & _ERROR_FLAG),
        is_remote_frame=is_remote,
        is_fd=len(content) > 8,
        channel=channel,
        data=content,
    )


def _seconds(time: str) -> float:
    """`1594172461.968006`, or `2020-07-08 01:41:01.968006` of candump -tA, taken for UTC."""
    if "-" in time.strip()[1:]:
        return datetime.fromisoformat(time.strip()).replace(tzinfo=UTC).timestamp()
    return float(time)
