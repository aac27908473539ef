"""Hundreds of thousands of spoilt blocks: none crashes anything, each is counted by its reason.

The spoiling is planned beforehand, so what is counted can be compared with what was sent.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from greenhaul_cloud.derive.runner import derive_once
from greenhaul_cloud.store import registry, tables
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.faults import Cause
from greenhaul_cloud.store.inspection import receive_block
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.block import BlockHeader, wrap_block
from greenhaul_protocols.series import READINGS_MAX, encode_body, to_series
from greenhaul_protocols.uplink_pb2 import Block as WireBlock

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store
    from greenhaul_protocols.catalogue import Reading

BLOCKS = 200_000
SOAK_BLOCKS = 1_000_000
FLUSH_BLOCKS = 2_000
IN_2099_MS = 4_070_908_800_000
SEED = 20_261_121

# How many in a hundred are spoilt how; what costs a row each is rarer.
SHARES = {
    "truncated": 30,
    "flipped": 30,
    "wrong CRC": 29,
    "absurd count": 2,
    "other gateway": 2,
    "no body": 1,
    "somebody else's source": 2,
    "swapped coordinates": 2,
    "year 2099": 2,
}
# What each is counted as; None: its readings are stored. Cut or flipped bytes may still be
# protobuf, or not.
COUNTED_AS: dict[str, set[Cause | None]] = {
    "truncated": {Cause.CRC, Cause.FORMAT},
    "flipped": {Cause.CRC, Cause.FORMAT},
    "wrong CRC": {Cause.CRC},
    "absurd count": {Cause.NUMBERS, Cause.BODY},
    "other gateway": {Cause.TOPIC},
    "no body": {Cause.BODY},
    "somebody else's source": {Cause.GRANT},
    "swapped coordinates": {Cause.PLACE},
    "year 2099": {None},
}
ABSURD_COUNTS = (2, 3, 100, 10**6, 2**31, 2**32 - 1)
RUBBISH = (b"rubbish", b"\x0a" * 100, b"\xff" * 20, b"\x12\x02\x08\x01", b"\0")


class Spoiler:
    """Makes spoilt blocks of one reading each, of one gateway's lane."""

    def __init__(self, kit: Kit, seed: int) -> None:
        self._kit, self._random = kit, random.Random(seed)
        self._next, self._time_ms = 1, kit.now_ms - 10_000_000
        plain = self._packed(kit.position("808:1", kit.now_ms, speed_kmh=33.5, items=b"\1\2\3"))
        self._whole = [wrap_block(self._header(i, 1), plain) for i in range(1, 200)]
        self.sent: Counter[str] = Counter()
        self._makers: dict[str, Callable[[], bytes]] = {
            "truncated": self._truncated,
            "flipped": self._flipped,
            "wrong CRC": self._wrong_crc,
            "absurd count": self._absurd_count,
            "other gateway": self._other_gateway,
            "no body": self._no_body,
            "somebody else's source": lambda: self._of(self._position("gps:7")),
            "swapped coordinates": lambda: self._of(
                self._position("808:1", latitude_deg=112.52, longitude_deg=32.99)
            ),
            "year 2099": lambda: self._of(
                replace(self._position("808:1"), device_time_ms=IN_2099_MS + self._tick())
            ),
        }

    def blocks(self, count: int) -> Iterator[bytes]:
        """So many, each counted in `sent`."""
        ways = self._random.choices(list(SHARES), list(SHARES.values()), k=count)
        self.sent.update(ways)
        return (self._makers[way]() for way in ways)

    def _tick(self) -> int:
        self._time_ms += 1
        return self._time_ms

    def _position(self, source: str, **values: float) -> Reading:
        return self._kit.position(source, self._tick(), **values)

    @staticmethod
    def _packed(reading: Reading) -> bytes:
        return encode_body(to_series([reading]))

    def _header(self, first: int, count: int, gateway: str = "gw-1") -> BlockHeader:
        return BlockHeader(gateway=gateway, epoch=self._kit.epoch, lane=1, first=first, count=count)

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _of(self, reading: Reading) -> bytes:
        return wrap_block(self._header(self._number(), 1), self._packed(reading))

    def _truncated(self) -> bytes:
        raw = self._random.choice(self._whole)
        return raw[: self._random.randrange(1, len(raw))]

    def _flipped(self) -> bytes:
        raw = bytearray(self._random.choice(self._whole))
        raw[self._random.randrange(len(raw))] ^= 1 << self._random.randrange(8)
        return bytes(raw)

    def _wrong_crc(self) -> bytes:
        wire = WireBlock.FromString(self._random.choice(self._whole))
        wire.crc ^= self._random.randrange(1, 2**32)
        return wire.SerializeToString()

    def _absurd_count(self) -> bytes:
        """The CRC is right: whoever wrote the block means it."""
        body = self._packed(self._position("808:1"))
        count = self._random.choice(ABSURD_COUNTS)
        first = self._next
        if count <= READINGS_MAX:  # it is taken at its word: so many numbers are settled
            self._next += count
        return wrap_block(self._header(first, count), body)

    def _other_gateway(self) -> bytes:
        return wrap_block(self._header(1, 1, "gw-2"), self._packed(self._position("808:1")))

    def _no_body(self) -> bytes:
        """Bytes under a right CRC that are no body."""
        return wrap_block(self._header(self._number(), 1), self._random.choice(RUBBISH))


def fuzz(store: Store, kit: Kit, count: int, seed: int) -> None:
    print(f"fuzz seed {seed}")
    kit.register(store, "gw-1", ["808:*"])
    with store.write() as conn:
        registry.add_vehicle(conn, {"id": "v1"}, 0)
        bind(conn, "808:1", "v1", valid_from_ms=0, now_ms=kit.now_ms)
    spoiler = Spoiler(kit, seed)
    blocks = spoiler.blocks(count)
    causes: Counter[Cause | None] = Counter()
    settled = 0
    while flush := [receive_block("gw-1", 1, raw) for raw in islice(blocks, FLUSH_BLOCKS)]:
        result = store_blocks(store, flush, kit.now_ms)
        causes.update(result.damaged_by)
        causes[None] += result.stored
        # a count is taken at its word: as many readings of that block are set aside
        causes.update({c: n for c, n in result.aside_by.items() if c is not Cause.BODY})
        settled += len(flush) - result.damaged
    assert_counted(spoiler.sent, causes, settled, count)
    derive_once(store, kit.now_ms)
    with store.read() as conn:
        stored = conn.execute(select(func.count()).select_from(tables.position)).scalar_one()
        assert stored == spoiler.sent["year 2099"]


def assert_counted(
    sent: Counter[str], causes: Counter[Cause | None], settled: int, count: int
) -> None:
    """Every block under one of the causes of what was done to it."""
    assert sum(sent.values()) == count
    damaged = sent["truncated"] + sent["flipped"] + sent["wrong CRC"]
    assert causes[Cause.CRC] + causes[Cause.FORMAT] == damaged
    assert causes[Cause.CRC] > sent["wrong CRC"]
    assert causes[Cause.TOPIC] == sent["other gateway"]
    assert causes[Cause.GRANT] == sent["somebody else's source"]
    assert causes[Cause.PLACE] == sent["swapped coordinates"]
    assert causes[None] == sent["year 2099"]
    assert 0 < causes[Cause.NUMBERS] < sent["absurd count"]
    damaged += sent["other gateway"] + causes[Cause.NUMBERS]
    assert settled == count - damaged
    known = set().union(*COUNTED_AS.values())
    assert {cause for cause, n in causes.items() if n} <= known


def test_200_000_spoilt_blocks_are_each_counted_by_reason(sqlite_store: Store, kit: Kit) -> None:
    fuzz(sqlite_store, kit, BLOCKS, SEED)


def test_spoilt_blocks_are_counted_alike_on_both_engines(store: Store, kit: Kit) -> None:
    fuzz(store, kit, 5_000, SEED + 1)


@pytest.mark.soak
def test_a_million_spoilt_blocks(store: Store, kit: Kit) -> None:
    fuzz(store, kit, SOAK_BLOCKS, random.randrange(2**32))
