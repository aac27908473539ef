"""Whether a broker would take a collector: found out without taking anything from anybody."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from prometheus_client import CollectorRegistry

from greenhaul_cloud.intake import probe as module
from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.probe import BACKOFF_S_MAX, MISLED_S, BrokerProbe
from greenhaul_cloud.intake.wire import BrokerAddress
from greenhaul_cloud.intake.wires import UNREACHED_S, PieceWires
from greenhaul_cloud.shards.pieces import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONNECT_FLAGS, PROTOCOL_LEVEL = 9, 8  # bytes of a CONNECT of less than 128
CLEAN = 0x02
CONNACK, REFUSED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"


class Broker:
    """Speaks 3.1.1, hangs up on 5.0; `answer` to a CONNECT, None for silence."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.connects: list[bytes] = []
        self.address = BrokerAddress(
            host="127.0.0.1",
            port=self._listener.getsockname()[1],
            client_id="collector",
            shards=(0x40, 0x4F),
        )
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """No more of it."""
        with contextlib.suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        for one in (self._listener, *self._held):
            one.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                self._held.append(connection)
                with contextlib.suppress(ConnectionError):
                    self._meet(connection)

    def _meet(self, connection: socket.socket) -> None:
        said = connection.recv(1024)
        self.connects.append(said)
        answer = self._answer(said)
        if answer is not None:
            connection.sendall(answer)
            if said[PROTOCOL_LEVEL] != MQTTProtocolVersion.MQTTv311 or answer != CONNACK:
                connection.close()
                return
            asked = connection.recv(1024)
            assert b"gh/v1/up/40/+/+\x00" in asked, "as a session would, but at QoS 0"
            connection.sendall(b"\x90\x03" + asked[2:4] + b"\x00")


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    made = Broker(request.param)
    yield made
    made.close()


def of_its_time(connect: bytes) -> bytes:
    """3.1.1 is let in; on 5.0 it hangs up without a word."""
    return CONNACK if connect[PROTOCOL_LEVEL] == MQTTProtocolVersion.MQTTv311 else b""


def only_probes(connect: bytes) -> bytes:
    """Rules on client ids that somebody wrote."""
    return of_its_time(connect) if b"-probe-" in connect else REFUSED


@pytest.mark.parametrize("broker", [of_its_time], indirect=True)
def test_the_version_a_broker_speaks_is_found_out_and_nothing_is_left_there(
    broker: Broker,
) -> None:
    now_s = 0.0
    probe = BrokerProbe(broker.address, lambda: now_s)
    assert not probe.reaches()
    assert not probe.reaches(), "not due yet"
    assert len(broker.connects) == 1
    now_s += BACKOFF_S_MAX
    assert probe.reaches()
    assert probe.version == MQTTProtocolVersion.MQTTv311
    for connect in broker.connects:
        assert connect[CONNECT_FLAGS] & CLEAN
        assert b"collector-probe-" in connect, "no session of anybody is taken over"


@pytest.mark.parametrize("broker", [lambda _: None], indirect=True)
def test_a_broker_that_says_nothing_is_not_waited_for(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S_MAX", 0.2)
    assert not BrokerProbe(broker.address).reaches()
    broker.close()
    assert not BrokerProbe(broker.address).reaches()


@pytest.mark.parametrize("broker", [of_its_time], indirect=True)
def test_settings_that_cannot_work_are_no_reason_to_end(broker: Broker, tmp_path: Path) -> None:
    for wrong in ({"tls": True, "ca_file": tmp_path / "none.pem"}, {"host": ""}):
        assert not BrokerProbe(replace(broker.address, **wrong)).reaches()


@pytest.mark.parametrize("broker", [only_probes], indirect=True)
def test_a_broker_that_takes_probes_alone_gets_no_shards_for_a_while(broker: Broker) -> None:
    now_s = 0.0
    counters = IntakeCounters(CollectorRegistry())
    wires = PieceWires(broker.address, counters, 16, lambda _: True, lambda: now_s)
    while not wires.reach_broker():
        now_s += BACKOFF_S_MAX
    piece = Piece(0x40, 0x4F)
    wires.take(piece)
    assert wires.reach_broker(), "sessions have some time to come"
    now_s += UNREACHED_S
    assert not wires.reach_broker()
    wires.leave(piece)
    now_s += MISLED_S - 1
    assert not wires.reach_broker()
    now_s += 1
    assert wires.reach_broker()
    wires.join()
