"""A fleet's blocks on one raw MQTT connection, QoS 1, cheap enough to share two cores with.

    load_publisher.py PORT RATE SECONDS EACH VEHICLES GATEWAYS START_MS

RATE: messages a second (0: as fast as they are acknowledged); EACH: readings a message. Prints
`epoch N` first, then a line for each message sent: seconds since 1970, gateway, last number,
vehicle, and the device time of its last reading in ms; at the end `processor S`, seconds it took.
"""

import select
import socket
import struct
import sys
import time
import zlib

from greenhaul_protocols.block import BlockHeader, wrap_block
from greenhaul_protocols.topics import up_topic
from greenhaul_protocols.uplink_pb2 import Body

# Unacknowledged messages we allow ourselves; the broker's limit is as high.
WINDOW = 1_000
POSITION = 1
STEP_MS = 1_000
LATITUDE, LONGITUDE, SPEED, HEADING = 1, 2, 4, 5
# What a JT/T 808 terminal reports besides: by catalogue number, a value in steps.
STEPS = {3: 300, 6: 12, 9: 1, 10: 123_456, 12: 0, 13: 3, 15: 30}
# A truck goes 2 km north at 36 km/h and 2 km back, a reading a second; now and then it is too fast.
LEG_READINGS, STEP_1E7_DEG = 200, 900
NORTH, SOUTH = 0, 1_800
USUAL_SPEED, FAST_SPEED, FAST_EACH = 365, 455, 50


class Truck:
    """One source that drives to and fro."""

    def __init__(self, number: int, each: int) -> None:
        self._body = Body(sources=[f"808:{number}"])
        series = self._body.series.add(source=0, kind=POSITION)
        series.number.extend([0] + [1] * (each - 1))
        series.device_time_ms.extend([0] + [STEP_MS] * (each - 1))
        series.received_time_ms.extend([0] + [STEP_MS] * (each - 1))
        self._south = 329_000_000 + number * 997 % 2_000_000
        places = {LATITUDE: self._south, LONGITUDE: 1_125_000_000 + number * 5_003}
        moving = {SPEED: USUAL_SPEED, HEADING: NORTH}
        self._columns = {}
        for field, value in (places | moving | STEPS).items():
            self._columns[field] = series.columns.add(field=field)
            self._columns[field].values.extend([value] + [0] * (each - 1))

    def body(self, at_ms: int, turn: int) -> bytes:
        """The readings of a turn, the first at this time; no block lies across a leg's end."""
        series = self._body.series[0]
        series.device_time_ms[0] = series.received_time_ms[0] = at_ms
        each = len(series.number)
        gone = turn * each % (2 * LEG_READINGS)
        is_back = gone >= LEG_READINGS
        step = -STEP_1E7_DEG if is_back else STEP_1E7_DEG
        begin = (2 * LEG_READINGS - gone if is_back else gone) * STEP_1E7_DEG
        self._columns[LATITUDE].values[:] = [self._south + begin] + [step] * (each - 1)
        self._columns[HEADING].values[0] = SOUTH if is_back else NORTH
        is_fast = turn % FAST_EACH == 0
        self._columns[SPEED].values[0] = FAST_SPEED if is_fast else USUAL_SPEED
        return self._body.SerializeToString()


class Connection:
    """Just enough of MQTT 3.1.1 to publish."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(_packet(0x10, _text("MQTT") + b"\x04\x02\x00\x3c" + _text("load")))
        assert self._socket.recv(4)[:1] == b"\x20", "the broker refuses us"
        self._socket.setblocking(False)
        self.sent = self.acked = 0
        self._rest = b""

    def publish(self, topic: str, payload: bytes) -> None:
        """Waits while the window is full."""
        self.hear(0)
        while self.sent - self.acked >= WINDOW:
            self.hear(1)
        self.sent += 1
        packet_id = struct.pack(">H", self.sent % 65_000 + 1)
        data = memoryview(_packet(0x32, _text(topic) + packet_id + payload))
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                select.select([self._socket], [self._socket], [], 1)
                self.hear(0)

    def hear(self, wait_s: float) -> None:
        """Count acknowledgements: four bytes each."""
        if wait_s:
            select.select([self._socket], [], [], wait_s)
        try:
            self._rest += self._socket.recv(65_536)
        except BlockingIOError:
            return
        self.acked += len(self._rest) // 4
        self._rest = self._rest[len(self._rest) // 4 * 4 :]


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def _packet(first: int, rest: bytes) -> bytes:
    size, length = bytearray(), len(rest)
    while True:
        length, low = divmod(length, 128)
        size.append(low | (0x80 if length else 0))
        if not length:
            return bytes([first]) + bytes(size) + rest


def _stored(body: bytes, _level: int = 0) -> bytes:
    """A zlib stream of one block that is not compressed (RFC 1950, 1951)."""
    size = len(body).to_bytes(2, "little"), (len(body) ^ 0xFFFF).to_bytes(2, "little")
    return b"\x78\x01\x01" + b"".join(size) + body + zlib.adler32(body).to_bytes(4, "big")


def main() -> None:
    """Publish, paced by the clock."""
    # a gateway compresses on a machine of its own; here it would be a seventh of all the time
    zlib.compress = _stored  # type: ignore[assignment]
    port, rate, seconds, each, vehicles, gateways, start_ms = map(int, sys.argv[1:])
    trucks = [Truck(number, each) for number in range(vehicles)]
    topics = [up_topic(f"dc-{gateway}", 1) for gateway in range(gateways)]
    epoch = zlib.crc32(str(time.time_ns()).encode())
    numbers = [1] * gateways
    connection = Connection(port)
    print(f"epoch {epoch}", flush=True)
    begun, count = time.time(), 0
    while time.time() - begun < seconds:
        vehicle, turn = count % vehicles, count // vehicles
        gateway = vehicle % gateways
        header = BlockHeader(
            gateway=f"dc-{gateway}", epoch=epoch, lane=1, first=numbers[gateway], count=each
        )
        numbers[gateway] += each
        at_ms = start_ms + turn * each * STEP_MS
        body = trucks[vehicle].body(at_ms, turn)
        connection.publish(topics[gateway], wrap_block(header, body))
        last_ms = at_ms + (each - 1) * STEP_MS
        print(f"{time.time():.3f} {gateway} {header.last} {vehicle} {last_ms}")
        count += 1
        if rate:
            ahead_s = begun + count / rate - time.time()
            if ahead_s > 0.002:
                sys.stdout.flush()
                time.sleep(ahead_s)
    while connection.acked < connection.sent:
        connection.hear(1)
    print(f"processor {time.process_time()}")


if __name__ == "__main__":
    main()
