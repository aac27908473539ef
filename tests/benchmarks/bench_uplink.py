"""Bytes on the wire, and a day's backlog over a thin line, against JSON in the same run.

Bytes are counted at a proxy between gateway and broker, both ways: MQTT, TLS 1.3, and TCP/IP with
its acknowledgements. Receipts come once a minute, or once a block where blocks come more seldom.
"""

import json
import math
import queue
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.chaos.chain import Collector, Gateway, Mosquitto, until
from tests.chaos.line import Line
from tests.chaos.secure_broker import COLLECTOR, PASSWORD, SecureBroker

from greenhaul_edge.config import UplinkSettings
from greenhaul_edge.uplink.schedule import Pace
from greenhaul_protocols.block import unwrap_block
from greenhaul_protocols.catalogue import BatteryReading, DriveReading, Reading
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import LaneState, Receipt, encode_receipt
from greenhaul_protocols.topics import receipt_topic

SIGNALS = 17
SEED = 7
START_MS = 1_760_000_000_000
BITS_PER_S, ROUND_TRIP_S = 256_000, 0.3
DAY_S = 86_400
# Send window in seconds, how many of them, and the most bytes a value may take. A backlog travels
# in blocks as large as those of ten minutes.
WINDOWS = ((10, 36, 2.6), (60, 20, 1.0), (600, 4, 0.6))
DRAIN_S_TARGET, LIVE_S_TARGET = 30, 1.0


class Cost(NamedTuple):
    """Bytes on the wire, by what they are for."""

    blocks: int
    around_blocks: int  # MQTT and TLS
    answers: int  # PUBACKs and receipts, with MQTT and TLS
    segments: int  # TCP/IP headers and acknowledgements

    def line(self, values: int) -> str:
        """Each share in bytes a value."""
        shares = zip(
            ("blocks", "MQTT and TLS", "PUBACKs and receipts", "TCP/IP"), self, strict=True
        )
        return ", ".join(f"{name} {size / values:.2f}" for name, size in shares)


class Truck:
    """17 signals at 1 Hz, as they move on a road."""

    def __init__(self) -> None:
        self._random, self._second = Random(SEED), 0
        self._speed, self._soc, self._effort = 40.0, 90.0, 0.0

    def drive(self, seconds: int) -> list[Reading]:
        """The next readings: two a second."""
        found: list[Reading] = []
        for _ in range(seconds):
            self._second += 1
            self._speed = min(max(self._speed + self._random.gauss(0, 0.8), 0), 90)
            self._soc = max(self._soc - 0.0008, 5)
            found += self._readings(START_MS + self._second * 1000)
        return found

    def _readings(self, at_ms: int) -> list[Reading]:
        speed, gauss = self._speed, self._random.gauss
        same: dict[str, Any] = {"source": "gw-a/can", "device_time_ms": at_ms}
        same["received_time_ms"] = at_ms
        # A foot is not white noise: what it does now resembles what it did a second ago.
        self._effort += gauss(0, 1) - self._effort / 8
        power = speed * 0.9 + self._effort
        battery = BatteryReading(
            **same,
            soc_percent=round(self._soc, 1),
            pack_voltage_v=round(540 + self._soc / 5 - power / 40, 1),
            pack_current_a=round(-power * 1.6, 1),
            cell_voltage_max_v=round(3.30 + self._soc / 1000, 3),
            cell_voltage_min_v=round(3.28 + self._soc / 1000, 3),
            cell_temperature_max_c=round(31 + math.sin(self._second / 900), 1),
            cell_temperature_min_c=round(28 + math.sin(self._second / 900), 1),
            insulation_kohm=2000,
            range_km=round(self._soc * 2.6, 1),
        )
        drive = DriveReading(
            **same,
            speed_kmh=round(speed, 1),
            odometer_km=round(10_000 + self._second * speed / 3600, 1),
            motor_speed_rpm=round(speed * 71),
            motor_torque_nm=round(power * 4),  # vehicles tell whole newton metres
            motor_temperature_c=round(60 + speed / 10, 1),
            controller_temperature_c=round(45 + speed / 12, 1),
            accelerator_percent=round(min(max(power, 0), 100), 1),
            is_ignition_on=True,
        )
        return [battery, drive]


class Scripted:
    """A collector that answers a hello at once, and blocks every `every`."""

    def __init__(self, broker: SecureBroker, every: int) -> None:
        self._every, self._blocks, self._revision = every, 0, 0
        self._settled: dict[int, RangeSet] = {}
        self.subscribed = queue.SimpleQueue[None]()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.username_pw_set(COLLECTOR, PASSWORD.format(COLLECTOR))
        self.client.on_message = self._take
        self.client.on_subscribe = lambda *_: self.subscribed.put(None)
        self.client.connect("127.0.0.1", broker.local_port)
        self.client.subscribe("gh/v1/up/#", 1)
        self.client.loop_start()
        self.subscribed.get()

    def _take(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        header = unwrap_block(bytes(message.payload)).header
        ranges = self._settled.setdefault(header.epoch, RangeSet())
        if header.count:
            ranges.add(header.first, header.last)
            self._blocks += 1
        if not header.count or header.asks_receipt or self._blocks % self._every == 0:
            self._revision += 1
            lane = LaneState(lane=1, settled=tuple(ranges), through=ranges.last)
            receipt = Receipt(
                gateway=header.gateway, epoch=header.epoch, store_id=7, revision=self._revision,
                server_time_ms=time.time_ns() // 1_000_000, lanes=(lane,) if ranges.total else (),
            )  # fmt: skip
            self.client.publish(receipt_topic(header.gateway), encode_receipt(receipt), retain=True)


def bytes_sent(folder: Path, window_s: int, windows: int) -> Cost:
    """Everything both ways once the connection stands."""
    broker = SecureBroker(folder / "broker")
    broker.start()
    collector = Scripted(broker, every=max(60 // window_s, 1))
    line = Line(broker.port)
    password = folder / "password"
    password.write_text(PASSWORD.format("gw-a"))
    settings = UplinkSettings(
        port=line.port, tls=True, ca_file=broker.authority.ca, username="gw-a",
        password_file=password,
    )  # fmt: skip
    gateway = Gateway(folder / "edge", "gw-a", settings, pace=Pace(60, 60_000, 8 << 20))
    gateway.uplink.start()
    until(lambda: gateway.uplink.state()["cloud"] == "answers", "the collector answers")
    until(lambda: gateway.in_flight.now == 0, "quiet")
    truck = Truck()
    before = cost_so_far(gateway, line)
    for sent in range(1, windows + 1):
        waiting = [
            gateway.outbox.append(truck.drive(min(5, window_s))) for _ in range(window_s // 5)
        ]
        for done in waiting:
            done.result(10)
        until(lambda sent=sent: gateway.uplink.sent_blocks >= sent, "it is sent")  # type: ignore[misc]
    until(lambda: gateway.waiting == 0 or windows % max(60 // window_s, 1) != 0, "it is settled")
    until(lambda: gateway.in_flight.now == 0, "quiet")
    after = cost_so_far(gateway, line)
    gateway.close()
    line.close()
    collector.client.disconnect()
    collector.client.loop_stop()
    broker.stop()
    return Cost(*(now - then for now, then in zip(after, before, strict=True)))


def cost_so_far(gateway: Gateway, line: Line) -> Cost:
    """What went over the line since it was opened."""
    up, down, blocks = line.up.payload, line.down.payload, gateway.uplink.sent_bytes
    total = line.up.total(line.down) + line.down.total(line.up)
    return Cost(blocks, up - blocks, down, total - up - down)


def json_bytes_a_value(folder: Path, seconds: int) -> float:
    """The same signals as one JSON message a second, over the same TLS."""
    broker = SecureBroker(folder / "broker")
    broker.start()
    line = Line(broker.port)
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set("gw-a", PASSWORD.format("gw-a"))
    client.tls_set(ca_certs=str(broker.authority.ca))
    client.connect("127.0.0.1", line.port)
    client.loop_start()
    until(client.is_connected, "it connects")
    truck, before = Truck(), line.up.total(line.down) + line.down.total(line.up)
    for _ in range(seconds):
        values: dict[str, object] = {}
        for reading in truck.drive(1):
            values |= {
                name: value
                for name in type(reading).__dataclass_fields__
                if (value := getattr(reading, name)) is not None
                and name not in ("source", "received_time_ms", "device_time_ms", "time_quality")
            }
        text = json.dumps({"ts": START_MS, "values": values})
        client.publish("gh/v1/state/gw-a", text, qos=1).wait_for_publish(10)
    total = line.up.total(line.down) + line.down.total(line.up) - before
    client.disconnect()
    client.loop_stop()
    line.close()
    broker.stop()
    return total / (seconds * SIGNALS)


def drain(folder: Path) -> tuple[float, list[float], int]:
    """Seconds to deliver a day, live readings' way to a receipt meanwhile, and bytes."""
    broker = Mosquitto(folder / "broker", "max_queued_messages 0")
    broker.start()
    collector = Collector(folder / "cloud", broker.port, ["gw-a"])
    collector.start()
    collector.wait_connected()
    line = Line(broker.port, bits_per_s=BITS_PER_S, delay_s=ROUND_TRIP_S / 2)
    settings = UplinkSettings(port=line.port)
    gateway = Gateway(folder / "edge", "gw-a", settings, pace=Pace())
    truck = Truck()
    for _ in range(DAY_S // 60):
        gateway.outbox.append(truck.drive(60), is_urgent=True).result(30)
    began, lives = time.monotonic(), list[float]()
    gateway.uplink.start()
    until(lambda: gateway.uplink.state()["cloud"] == "answers", "the collector answers")
    is_drained = threading.Event()
    drained_at = began
    while not is_drained.is_set():
        asked = time.monotonic()
        number = gateway.outbox.view().lanes[0].next
        gateway.outbox.append(truck.drive(1), is_alarm=True).result(10)
        until(
            lambda number=number: (
                not gateway.outbox.view()  # type: ignore[misc]
                .lanes[0]
                .unsettled.overlap(number, number)
            ),
            "the live reading is settled",
        )
        lives.append(time.monotonic() - asked)
        if gateway.waiting == 0:
            drained_at = time.monotonic()
            is_drained.set()
    found = drained_at - began, sorted(lives), line.up.total(line.down)
    gateway.close()
    line.close()
    collector.close()
    broker.kill()
    return found


def main() -> None:
    """Print figures, each against JSON or the line's own rate."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = json_bytes_a_value(folder / "json", 60)
        print(f"json, a message a second: {base:.1f} bytes a value (baseline)")
        for window_s, windows, target in WINDOWS:
            cost = bytes_sent(folder / f"w{window_s}", window_s, windows)
            values = windows * window_s * SIGNALS
            each = sum(cost) / values
            print(
                f"send window {window_s} s: {each:.2f} bytes a value (target {target}), "
                f"{base / each:.0f}x less: {cost.line(values)}"
            )
        seconds, lives, size = drain(folder / "drain")
        alone = size * 8 / BITS_PER_S
        p99 = lives[min(len(lives) - 1, int(len(lives) * 0.99))]
        print(
            f"a day's backlog at {BITS_PER_S // 1000} kbit/s, {ROUND_TRIP_S * 1000:.0f} ms: "
            f"{seconds:.1f} s (target {DRAIN_S_TARGET}), {seconds / alone:.2f}x the line's own "
            f"time for {size} bytes, {size / (DAY_S * SIGNALS):.2f} a value"
        )
        print(
            f"live receipts meanwhile: median {lives[len(lives) // 2]:.2f} s, p99 {p99:.2f} s of "
            f"{len(lives)} (target {LIVE_S_TARGET:g}), {p99 / ROUND_TRIP_S:.1f}x the round trip"
        )


if __name__ == "__main__":
    main()
