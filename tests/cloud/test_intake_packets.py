"""Blocks are told from a connection's bytes as paho tells them, however the bytes are cut."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from greenhaul_cloud.intake.packets import Publish, ReadAhead, parse_publish

_TOPICS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)
_PUBLISHES = st.builds(
    Publish, _TOPICS, st.binary(max_size=300), st.integers(1, 65_535), st.integers(0, 1)
)


def encoded(publish: Publish, *, is_v5: bool, flags: int = 0) -> bytes:
    """As a broker sends it; flags: duplicate (8) and retain (1)."""
    topic = publish.topic.encode()
    rest = len(topic).to_bytes(2, "big") + topic
    rest += publish.message_id.to_bytes(2, "big") if publish.qos else b""
    if is_v5:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = ("路", "x" * 150)
        properties.MessageExpiryInterval = 60
        rest += properties.pack()  # type: ignore[no-untyped-call]
    rest += publish.payload
    length, size = len(rest), bytearray()
    while True:
        length, low = divmod(length, 128)
        size.append(low | (0x80 if length else 0))
        if not length:
            return bytes([0x30 | publish.qos << 1 | flags]) + bytes(size) + rest


@given(_PUBLISHES, st.booleans(), st.sampled_from([0, 1, 8, 9]))
def test_a_publish_reads_as_it_was_written(publish: Publish, is_v5: bool, flags: int) -> None:
    packet = encoded(publish, is_v5=is_v5, flags=flags)
    message_id = publish.message_id if publish.qos else 0
    assert parse_publish(packet, is_v5=is_v5) == publish._replace(message_id=message_id)


@given(_PUBLISHES, st.booleans(), st.data())
def test_what_is_told_is_what_paho_tells(
    publish: Publish, is_v5: bool, data: st.DataObject
) -> None:
    """Of damaged packets, too: each is read as paho reads it, or left to it."""
    packet = bytearray(encoded(publish, is_v5=is_v5))
    start = next(i for i in range(1, 5) if packet[i] < 0x80) + 1
    for _ in range(data.draw(st.integers(1, 3))):
        packet[data.draw(st.integers(start, len(packet) - 1))] = data.draw(st.integers(0, 255))
    found = parse_publish(packet, is_v5=is_v5)
    if found is None:
        return
    version = MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311
    try:
        wanted = _packet.decode_publish(packet[0], packet[start:], version)
    except MalformedPacket:  # a property it does not know; we do not look at any
        assert is_v5
        return
    assert (found.topic.encode(), found.message_id) == (wanted.topic, wanted.mid)
    assert is_v5 or found.payload == wanted.payload


@pytest.mark.parametrize(
    "packet",
    [
        b"\xd0\x00",  # PINGRESP
        b"\x34\x07\x00\x01a\x00\x01xx",  # QoS 2
        b"\x32\x04\x00\x00\x00\x01",  # no topic
        b"\x32\x03\x00\x09a",
        b"\x30\x04\x00\x02\xff\xfe",
        b"\x32\x03\x00\x01a",
    ],
)
def test_others_are_left_to_paho(packet: bytes) -> None:
    assert parse_publish(packet, is_v5=False) is None


@contextlib.contextmanager
def connection() -> Iterator[tuple[socket.socket, ReadAhead]]:
    """The broker's end, and ours."""
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    with theirs, ours:
        yield theirs, ReadAhead(ours)


@given(st.lists(_PUBLISHES, min_size=1, max_size=8), st.data())
def test_packets_come_whole_and_in_order(said: list[Publish], data: st.DataObject) -> None:
    """However they are cut, and with packets of paho's between."""
    ping = b"\xd0\x00"
    stream = ping.join(encoded(one, is_v5=False) for one in said) + ping
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=10)))
    heard, pings = [], 0
    with connection() as (theirs, ours):
        for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            theirs.sendall(stream[low:high])
            assert ours.fill()
            while size := ours.whole():
                publish = ours.take_publish(size, is_v5=False)
                if publish is None:
                    # as paho reads: a byte, a byte, and so on
                    assert ours.recv(1) + ours.recv(1) == ping
                    pings += 1
                else:
                    heard.append(publish)
        assert not ours.is_ready
        theirs.shutdown(socket.SHUT_WR)
        assert not ours.fill()
        assert ours.recv(1) == b""
    assert [one.payload for one in heard] == [one.payload for one in said]
    assert pings == len(said)


def test_a_packet_is_sent_whole_or_kept_back() -> None:
    """What the other side does not take yet goes first, and nothing comes between."""
    with connection() as (theirs, ours):
        packet = b"x" * 1_000
        sent = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += packet
                assert ours.send(packet) == len(packet)
        sent = sent[: -len(packet)]
        assert ours.has_rest
        ours.put(b"acknowledged")
        heard = b""
        while len(heard) < len(sent) + 12:
            heard += theirs.recv(100_000)
            ours.flush()
        assert heard == sent + b"acknowledged"
        assert not ours.has_rest
