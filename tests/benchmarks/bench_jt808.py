"""How fast location reports are read, as ratios to a loop over `struct` written by hand.

The loop does what everybody's first decoder does: split at 7E, undo the escapes, XOR byte by byte,
unpack header and fields, walk the items into a dict. It keeps no split messages, editions, serials,
reasons or bounds.

    .venv/bin/python tests/benchmarks/bench_jt808.py [FRAMES]
"""

import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from greenhaul_protocols.bulk_jt808 import read_reports
from greenhaul_protocols.jt808 import Conversation, Item, LocationReport, Received
from greenhaul_protocols.jt808.border import readings_of

RECEIVED_MS = 1_795_158_245_000
STRETCH_SIZE = 256 * 1024
ROUNDS = 7
CONVERSATIONS = 1000

_HEADER, _BODY = struct.Struct(">HH6sH"), struct.Struct(">IIIIHHH6s")


def made_stream(count: int) -> bytes:
    """Reports of 60 bytes or so with odometer, recorder speed, signal and satellites."""
    terminal = Conversation(phone="13912345678")
    frames = []
    for n in range(count):
        items = (
            Item(0x01, (100_000 + n).to_bytes(4, "big")),
            Item(0x03, (365 + n % 100).to_bytes(2, "big")),
            Item(0x30, bytes((n % 32,))),
            Item(0x31, bytes((n % 24,))),
        )
        digits = f"2611201504{n % 60:02d}"
        report = LocationReport(0, 3, 32.9 + n / 1e6, 112.5, 130, n % 80, n % 360, digits, items)
        frames.append(terminal.send(report))
    return b"".join(frames)


def by_hand(stream: bytes) -> int:
    """The baseline."""
    found = []
    for piece in stream.split(b"\x7e"):
        if not piece:
            continue
        content = piece.replace(b"\x7d\x02", b"\x7e").replace(b"\x7d\x01", b"\x7d")
        checksum = 0
        for byte in content:
            checksum ^= byte
        if checksum:
            continue
        message_id, _, phone, serial = _HEADER.unpack_from(content)
        alarms, status, latitude, longitude, *rest = _BODY.unpack_from(content, 12)
        items: dict[int, bytes] = {}
        at, end = 40, len(content) - 1
        while at < end:
            items[content[at]] = content[at + 2 : at + 2 + content[at + 1]]
            at += 2 + content[at + 1]
        fix = (alarms, status, latitude / 1e6, longitude / 1e6, rest[0], rest[1] / 10, rest[2])
        found.append((message_id, phone.hex(), serial, fix, rest[3].hex(), items))
    return len(found)


def declared(stream: bytes) -> int:
    """Conversation: events with declared messages."""
    conversation, found = Conversation(), 0
    for at in range(0, len(stream), STRETCH_SIZE):
        events = conversation.receive(stream[at : at + STRETCH_SIZE])
        found += sum(isinstance(event, Received) for event in events)
    return found


def to_readings(stream: bytes) -> int:
    """Conversation and border: positions in our own words."""
    conversation, found = Conversation(), 0
    for at in range(0, len(stream), STRETCH_SIZE):
        for event in conversation.receive(stream[at : at + STRETCH_SIZE]):
            assert isinstance(event, Received)
            found += len(readings_of(event.message, source="808:1", received_time_ms=RECEIVED_MS))
    return found


def in_bulk(stream: bytes) -> int:
    """Columns, in the catalogue's steps."""
    found, rest = 0, b""
    for at in range(0, len(stream), STRETCH_SIZE):
        data = rest + stream[at : at + STRETCH_SIZE]
        columns = read_reports(data, received_time_ms=RECEIVED_MS)
        found += len(columns)
        rest = data[columns.rest :]
    return found


READERS: dict[str, Callable[[bytes], int]] = {
    "struct loop by hand": by_hand,
    "declared reader": declared,
    "declared, to readings": to_readings,
    "bulk reader": in_bulk,
}


def frames_per_s(read: Callable[[bytes], int], stream: bytes, count: int) -> float:
    """The best of some rounds: the others were disturbed."""
    best = 0.0
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        found = read(stream)
        best = max(best, found / (time.perf_counter() - begun))
        assert found == count, f"{found} of {count} reports found"
    return best


def conversation_bytes() -> float:
    """Memory of one idle conversation that has heard its terminal."""
    report = made_stream(1)
    tracemalloc.start()
    kept: list[Any] = []
    for _ in range(CONVERSATIONS):
        conversation = Conversation()
        conversation.receive(report)
        kept.append(conversation)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / len(kept)


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    stream = made_stream(count)
    print(f"JT/T 808: {count} location reports of {len(stream) / count:.0f} bytes")
    rates = {name: frames_per_s(read, stream, count) for name, read in READERS.items()}
    baseline = rates["struct loop by hand"]
    for name, rate in rates.items():
        print(f"  {name:24} {rate:12,.0f} frames/s   {rate / baseline:5.2f} × the loop by hand")
    print(f"  {'idle conversation':24} {conversation_bytes():12,.0f} bytes")


if __name__ == "__main__":
    main()
