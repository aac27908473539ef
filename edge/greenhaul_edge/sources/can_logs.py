"""Recorded CAN traffic as frames: whatever python-can reads, and what savvycan and loggers write.

candump (.log), Vector .asc and .blf, .trc, python-can's own .csv; GVRET .csv; lines of
`seconds id length bytes`; MF4 where asammdf is installed. `.gz` is unpacked on the way.
"""

import gzip
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import can

from greenhaul_edge.sources.can_pace import CanPace
from greenhaul_edge.sources.can_state import CanState
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.errors import ConfigError

_FRAME_SIZE_MAX = 64


def read_log(path: Path) -> Iterator[can.Message]:
    """The frames of a log, in its order. Raises ConfigError for a file nobody can read."""
    if path.suffix == ".gz":
        with tempfile.TemporaryDirectory() as folder:
            unpacked = Path(folder) / path.stem
            with gzip.open(path) as packed, unpacked.open("wb") as file:
                shutil.copyfileobj(packed, file)
            yield from read_log(unpacked)
        return
    read_line = _line_reader(path)
    if read_line is not None:
        with path.open(encoding="latin-1") as lines:
            for line in lines:
                message = read_line(line)
                if message is not None:
                    yield message
        return
    try:
        with can.LogReader(path) as messages:
            yield from messages
    except (ValueError, NotImplementedError, ImportError) as error:
        raise ConfigError(f"{path}: {error}") from error


def replay(
    frames: Iterator[can.Message],
    state: CanState,
    pace: CanPace,
    *,
    channel: str = "",
) -> Iterator[Reading]:
    """The readings a bus would have given. Their times are the log's, in milliseconds."""
    now_ms = 0
    for frame in frames:
        if channel and str(frame.channel) != channel:
            continue
        if frame.is_error_frame or frame.is_remote_frame:
            continue
        now_ms = max(now_ms, round(frame.timestamp * 1000))  # some logs step back
        state.take(frame.arbitration_id, frame.is_extended_id, bytes(frame.data), now_ms)
        yield from pace.turn(now_ms, now_ms)
    yield from state.readings(now_ms, now_ms)


def _line_reader(path: Path) -> Callable[[str], can.Message | None] | None:
    """The reader of a text format that python-can does not know."""
    if path.suffix.lower() not in (".csv", ".txt", ".log"):
        return None
    with path.open(encoding="latin-1") as lines:
        first = lines.readline()
    if first.startswith("Time Stamp,ID,Extended"):
        return _gvret_line
    parts = first.split()
    if len(parts) > 2 and not first.startswith("(") and _spaced_line(first) is not None:
        return _spaced_line
    return None


def _gvret_line(line: str) -> can.Message | None:
    """Microseconds, hex id, is extended, bus, length, bytes."""
    parts = line.strip().split(",")
    try:
        size = int(parts[4])
        # Newer files have a direction before the bus.
        at = 5 if len(parts) <= 5 + _FRAME_SIZE_MAX else 6
        return _message(
            int(parts[0]) / 1e6,
            int(parts[1], 16),
            parts[2].lower() == "true",
            parts[3],
            parts[at : at + size],
        )
    except (ValueError, IndexError):
        return None


def _spaced_line(line: str) -> can.Message | None:
    """Seconds, hex id, length, bytes in hex."""
    parts = line.split()
    try:
        size = int(parts[2])
        frame_id = int(parts[1], 16)
        return _message(float(parts[0]), frame_id, frame_id > 0x7FF, "0", parts[3 : 3 + size])
    except (ValueError, IndexError):
        return None


def _message(
    at_s: float, frame_id: int, is_extended: bool, channel: str, data: list[str]
) -> can.Message:
    fields: dict[str, Any] = {"timestamp": at_s, "arbitration_id": frame_id, "channel": channel}
    return can.Message(
        **fields,
        is_extended_id=is_extended,
        data=bytes(int(one, 16) for one in data),
        is_fd=len(data) > 8,
    )
