"""A truck with a receiver, a battery on the bus and two terminals is one vehicle in the cloud."""

import os
import socket
import struct
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.process_chain import Chain, until

from greenhaul_protocols.jt808 import (
    Authentication,
    Conversation,
    Item,
    LocationReport,
    Received,
    RegistrationAnswer,
)
from greenhaul_protocols.jt808.clock import digits_of
from greenhaul_protocols.jt808.messages import Registration
from greenhaul_protocols.times import to_datetime

# Where the receiver and the terminals say the truck is: a track must be of one of them.
GNSS_LATITUDE_DEG, TERMINAL_LATITUDE_DEG = 32.991667, 33.5
SECONDS = 20


class Truck:
    """The other ends of the gateway's lines."""

    def __init__(self, folder: Path) -> None:
        self._slaves = []
        self._masters = {}
        for name in ("ttyGNSS", "ttyCAN"):
            master, slave = os.openpty()
            tty.setraw(slave)
            (folder / name).symlink_to(os.ttyname(slave))
            self._slaves.append(slave)
            self._masters[name] = master

    def close(self) -> None:
        """Every line."""
        for one in (*self._slaves, *self._masters.values()):
            os.close(one)

    def fix(self, at_ms: int) -> None:
        """One moment of the receiver."""
        moment = to_datetime(at_ms)
        body = f"GNRMC,{moment:%H%M%S}.000,A,3259.5000,N,11231.2000,E,20.0,91.5,{moment:%d%m%y},,,A"
        checksum = 0
        for byte in body.encode():
            checksum ^= byte
        os.write(self._masters["ttyGNSS"], f"${body}*{checksum:02X}\r\n".encode())

    def frame(self, frame_id: int, data: bytes) -> None:
        """One frame of the bus."""
        line = f"T{frame_id:08X}{len(data)}{data.hex().upper()}\r"
        os.write(self._masters["ttyCAN"], line.encode())


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, mosquitto: Any) -> Iterator[Chain]:
    """The chain, with all a truck's inputs."""
    folder = tmp_path_factory.mktemp("chain")
    chain = Chain(folder, mosquitto.port)
    with (folder / "edge.toml").open("a") as config:
        config.write(
            f'[sources.gnss]\ntype = "gnss"\nport = "{folder}/ttyGNSS"\nbaud = 9600\n'
            f'[sources.battery]\ntype = "can"\ninterface = "slcan"\nchannel = "{folder}/ttyCAN"\n'
            'mapping = "truck.toml"\ncadence_s = 1.0\n'
        )
    (folder / "truck.dbc").write_text(
        'VERSION ""\n\nBS_:\n\nBU_: X\n\n'
        'BO_ 2147483904 Pack: 8 X\n SG_ Voltage : 0|16@1+ (0.1,0) [0|0] "V" X\n'
        ' SG_ Soc : 16|16@1+ (0.1,0) [0|0] "%" X\n SG_ Plugged : 32|1@1+ (1,0) [0|0] "" X\n'
        ' SG_ Speed : 40|16@1+ (0.1,0) [0|0] "km/h" X\n'
    )
    (folder / "truck.toml").write_text(
        'dbc = "truck.dbc"\n'
        + "".join(
            f'[[signals]]\nsignal = "Pack.{signal}"\nfield = "{field}"\n'
            for signal, field in (
                ("Voltage", "battery.pack_voltage_v"),
                ("Soc", "battery.soc_percent"),
                ("Plugged", "battery.is_plugged"),
                ("Speed", "drive.speed_kmh"),
            )
        )
    )
    try:
        yield chain
    finally:
        for process in chain.processes.values():
            process.kill()
            process.wait()


class Terminal:
    """Registers, authenticates, reports; waits for each answer."""

    def __init__(self, address: str, phone: str) -> None:
        host, _, port = address.rpartition(":")
        self._link = socket.create_connection((host, int(port)), timeout=30)
        self._conversation = Conversation(phone=phone)
        answer = self._ask(Registration(41, 1, "GHDEM", "GH-1", phone[-7:], 1, f"豫R{phone[-5:]}"))
        assert isinstance(answer, RegistrationAnswer)
        assert answer.auth_code
        self._ask(Authentication(answer.auth_code))

    def report(self, at_ms: int) -> None:
        """A position and the temperature of a refrigerated body."""
        items = (Item(0x51, bytes.fromhex("80b4")),)
        self._ask(
            LocationReport(
                0, 3, TERMINAL_LATITUDE_DEG, 112.5, 130, 36.0, 90, digits_of(at_ms), items
            )
        )

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _ask(self, message: Any) -> Any:
        self._link.sendall(self._conversation.send(message))
        while True:
            for event in self._conversation.receive(self._link.recv(4096)):
                if isinstance(event, Received):
                    return event.message


def test_all_inputs_of_a_truck_are_one_vehicle(chain: Chain, tmp_path: Path) -> None:
    truck = Truck(chain.folder)
    chain.start_cloud()
    chain.start_edge()
    gateway = chain.gateway
    chain.api.post("/vehicles", {"id": "truck-7", "plate": "豫R00007"})
    sources = (f"{gateway}/gnss", f"{gateway}/battery", "808:13900000021", "808:13900000022")
    for priority, source in zip((9, 1, 2, 1), sources, strict=True):
        binding = {"source": source, "vehicle_id": "truck-7", "priority": priority}
        chain.api.post("/bindings", binding)
    terminals = [Terminal(chain.terminals, source[4:]) for source in sources[2:]]
    now_ms = time.time_ns() // 1_000_000 // 1000 * 1000 - SECONDS * 1000
    for second in range(SECONDS):
        truck.fix(now_ms + second * 1000)
        is_plugged = second >= SECONDS // 2
        truck.frame(0x100, struct.pack("<HHBHx", 5_400, 805, is_plugged, 305))
        for terminal in terminals:
            terminal.report(now_ms + second * 1000)
        time.sleep(0.2)  # the cadence of the bus is a second: it needs several
    for terminal in terminals:
        terminal.close()

    def listed(what: str) -> list[dict[str, Any]]:
        return list(chain.api.items(f"/vehicles/truck-7/{what}"))

    until(lambda: listed("battery"), "battery readings")
    chain.await_drained()
    assert [listed("battery")[0][name] for name in ("soc_percent", "pack_voltage_v")] == [80.5, 540]
    assert {one["speed_kmh"] for one in listed("drive")} == {30.5}
    cargo = listed("cargo")
    assert [one["compartment_temperature_1_c"] for one in cargo] == 2 * SECONDS * [-18.0]
    assert {one["source"] for one in cargo} == set(sources[2:])
    events = [(one["code"], one["source"], one["detail"]) for one in listed("events")]
    assert events == [("plug_in", f"{gateway}/battery", {"from": False, "to": True})]
    (latest,) = chain.api.get("/positions/latest")["features"]
    assert latest["properties"]["vehicle_id"] == "truck-7"
    assert round(latest["geometry"]["coordinates"][1], 6) == GNSS_LATITUDE_DEG
    track = chain.api.get("/vehicles/truck-7/track")
    vertices = [
        vertex
        for feature in track["features"]
        if feature["geometry"]["type"] == "LineString"
        for vertex in feature["geometry"]["coordinates"]
    ]
    assert len(vertices) >= SECONDS - 1
    assert {round(vertex[1], 6) for vertex in vertices} == {GNSS_LATITUDE_DEG}
    truck.close()
    chain.stop()
