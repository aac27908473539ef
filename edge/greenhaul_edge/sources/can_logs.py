"""Recorded CAN traffic as frames: text logs by `can_text_logs`, the others by python-can.

Vector .asc and .blf, .trc, python-can's own .csv; MF4 where asammdf is installed. `.gz` is unpacked
on the way.
"""

import gzip
import logging
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from itertools import islice
from pathlib import Path

import can

from greenhaul_edge.sources.can_pace import CanPace
from greenhaul_edge.sources.can_state import CanState
from greenhaul_edge.sources.can_text_logs import line_reader, read_lines
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.errors import ConfigError

log = logging.getLogger(__name__)

# The head of an .asc says what its times are.
_ASC_HEAD_LINES = 20
_ASC_STEPS = re.compile(r"(timestamps\s+)relative", re.IGNORECASE)
_ASC_TIME = re.compile(r"\s*(\d+\.\d+)\s+")
# Formats with signatures of their own; everything else is looked at as text first.
_BINARY = (".blf", ".mf4", ".db", ".asc", ".trc")
# What python-can's readers raise for files that are damaged, cut short, or of another kind.
_UNREADABLE = (
    ValueError,
    LookupError,
    AssertionError,
    NotImplementedError,
    ImportError,
    EOFError,
    struct.error,
    zlib.error,
    can.CanError,
    can.io.blf.BLFParseError,
)


def read_log(path: Path) -> Iterator[can.Message]:
    """The frames of a log, in its order; one that is cut short ends there.

    Raises ConfigError for a file without a frame that can be read.
    """
    if path.suffix == ".gz" or _has_steps(path):
        with tempfile.TemporaryDirectory() as folder:
            if path.suffix == ".gz":
                plain = Path(folder) / path.stem
                with gzip.open(path) as packed, plain.open("wb") as file:
                    shutil.copyfileobj(packed, file)
            else:
                plain = Path(folder) / path.name
                _add_up(path, plain)
            yield from read_log(plain)
        return
    read_line = None if path.suffix.lower() in _BINARY else line_reader(path)
    if read_line is not None:
        yield from read_lines(path, read_line)
        return
    count = 0
    try:
        with ExitStack() as stack:
            for message in _open(path, stack):
                count += 1
                yield message
    except _UNREADABLE as error:
        if not count:
            raise ConfigError(f"{path}: no CAN log that can be read: {error}") from error
        log.warning("log=%s ends after %d frames: %s", path.name, count, error)


def _has_steps(path: Path) -> bool:
    """Whether it is an .asc whose times count from line to line, which python-can does not add."""
    if path.suffix.lower() != ".asc":
        return False
    with path.open(encoding="latin-1") as file:
        return any(_ASC_STEPS.search(line) for line in islice(file, _ASC_HEAD_LINES))


def _add_up(path: Path, plain: Path) -> None:
    """The same .asc with times from its begin. Lines that are no frames count, too."""
    at_s = Decimal(0)
    with path.open(encoding="latin-1") as lines, plain.open("w", encoding="latin-1") as file:
        for line in lines:
            match = _ASC_TIME.match(line)
            if match:
                at_s += Decimal(match[1])
                file.write(f"{at_s} {line[match.end() :]}")
            else:
                file.write(_ASC_STEPS.sub(r"\1absolute", line))


def _open(path: Path, stack: ExitStack) -> Iterable[can.Message]:
    if path.suffix.lower() == ".blf":  # python-can leaves a file open that is no BLF
        return can.BLFReader(stack.enter_context(path.open("rb")))
    if path.suffix.lower() != ".asc":
        return stack.enter_context(can.LogReader(path))
    try:
        with can.ASCReader(path, relative_timestamp=False) as messages:
            next(iter(messages), None)
    except ValueError:  # a date in a language it does not know
        return stack.enter_context(can.ASCReader(path))
    return stack.enter_context(can.ASCReader(path, relative_timestamp=False))


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
