"""A battery on a CAN bus: python-can's virtual one, and an adapter played on a pseudo terminal."""

import os
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import can
import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import CanSettings
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.can import CanSource
from greenhaul_edge.sources.can_mapping import load_mapping
from greenhaul_edge.sources.can_state import CanState
from greenhaul_protocols.catalogue import BatteryReading, Event, Reading, TimeQuality
from greenhaul_protocols.errors import ConfigError

Until = Callable[[Callable[[], bool]], None]
ReadingsIn = Callable[[Path], list[Reading]]
SAMPLE = Path(__file__).parent.parent.parent / "edge" / "battery.sample.toml"

# 540.0 V, 1055.0 A as this BMS counts (offset 1000, discharge positive), 80.5 %, state 3, plugged.
STATE_ID = 2566844672 & 0x1FFFFFFF
STATE = (5400).to_bytes(2, "little") + (10550).to_bytes(2, "little") + (805).to_bytes(2, "little")
STATE += bytes((3, 0b101))
CELLS_ID = 2566844928 & 0x1FFFFFFF
CELLS = (4123).to_bytes(2, "little") + (4001).to_bytes(2, "little") + bytes((72, 65, 0, 0))


@pytest.fixture
def state() -> CanState:
    """Of the sample mapping; values are good for a second."""
    return CanState(load_mapping(SAMPLE), "gw/battery", 1_000)


def test_frames_become_one_reading(state: CanState) -> None:
    state.take(STATE_ID, True, STATE, 100)
    state.take(CELLS_ID, True, CELLS, 150)
    (reading,) = state.readings(200, 9)
    assert reading == BatteryReading(
        source="gw/battery",
        device_time_ms=150,
        received_time_ms=9,
        time_quality=TimeQuality.GATEWAY,
        soc_percent=80.5,
        pack_voltage_v=540.0,
        pack_current_a=-55.0,
        cell_voltage_max_v=4.123,
        cell_voltage_min_v=4.001,
        cell_temperature_max_c=32,
        cell_temperature_min_c=25,
        charging_state=3,
        fault_level=1,
        is_plugged=True,
    )
    assert not state.readings(300, 9)


def test_a_value_that_is_old_or_not_available_is_not_said(state: CanState) -> None:
    state.take(CELLS_ID, True, CELLS, 100)
    state.take(STATE_ID, True, STATE[:4] + b"\xff\xff" + STATE[6:], 2_000)
    (reading,) = state.readings(2_000, 9)
    assert isinstance(reading, BatteryReading)
    assert reading.soc_percent is None
    assert reading.cell_voltage_max_v is None
    assert reading.pack_voltage_v == 540.0


def test_frames_that_do_not_fit_are_counted(state: CanState) -> None:
    state.take(STATE_ID, True, b"\x01", 0)
    state.take(STATE_ID, False, STATE, 0)
    state.take(0x123, False, STATE, 0)
    assert (state.counts.undecodable, state.counts.unmapped) == (1, 2)
    assert not state.readings(1, 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('signal = "BMS_Stat.PackVoltage"', "did you mean 'BMS_State'"),
        ('signal = "BMS_State.PackVolts"', "did you mean 'PackVoltage'"),
        ('signal = "BMS_State.PackVoltage"\nscales = 2.0', "did you mean 'scale'"),
        (
            'signal = "BMS_State.PackVoltage"\nfield = "battery.soc_pct"',
            "did you mean 'soc_percent'",
        ),
    ],
)
def test_a_wrong_mapping_names_what_would_be_right(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "b.dbc").write_text((SAMPLE.parent / "battery.sample.dbc").read_text())
    field = "" if "field" in line else '\nfield = "battery.pack_voltage_v"'
    path = tmp_path / "b.toml"
    path.write_text(f'dbc = "b.dbc"\n[[signals]]\n{line}{field}\n')
    with pytest.raises(ConfigError, match=message):
        load_mapping(path)


@pytest.fixture
def listen(outbox: Outbox, clock: Clock) -> Iterator[Callable[..., CanSource]]:
    """Start a source; it is stopped at the end."""
    sources: list[CanSource] = []

    def start(interface: str, channel: str, of_clock: Clock | None = None) -> CanSource:
        settings = CanSettings(channel=channel, mapping=SAMPLE, interface=interface, cadence_s=0.1)
        source = CanSource("battery", settings, outbox, of_clock or clock)
        source.start()
        sources.append(source)
        return source

    yield start
    for source in sources:
        source.stop()


def test_a_battery_on_the_bus_reaches_the_outbox(
    listen: Callable[..., CanSource],
    clock: Clock,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    source = listen("virtual", "battery-1")
    until(lambda: source.state()["link"] == "open")
    with can.Bus("battery-1", interface="virtual") as bus:
        for frame_id, data in ((STATE_ID, STATE), (CELLS_ID, CELLS)):
            bus.send(can.Message(arbitration_id=frame_id, data=data, is_extended_id=True))
    until(lambda: bool(readings_in(outbox_path)))
    reading = readings_in(outbox_path)[0]
    assert isinstance(reading, BatteryReading)
    assert (reading.source, reading.soc_percent) == ("gw-test/battery", 80.5)
    assert reading.time_quality is TimeQuality.GATEWAY
    assert abs(reading.device_time_ms - clock.now_ms()) < 60_000


def test_readings_wait_in_the_outbox_until_the_clock_is_known(
    listen: Callable[..., CanSource],
    outbox: Outbox,
    clock: Clock,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    source = listen("virtual", "battery-2", Clock())
    until(lambda: source.state()["link"] == "open")
    with can.Bus("battery-2", interface="virtual") as bus:
        bus.send(can.Message(arbitration_id=STATE_ID, data=STATE, is_extended_id=True))
    until(lambda: int(source.state()["readings"]) == 1)
    outbox.append([], is_urgent=True).result(10)
    assert not readings_in(outbox_path)
    assert clock.offset_ms is not None
    outbox.map_clock(clock.offset_ms).result(10)
    (reading,) = readings_in(outbox_path)
    assert abs(reading.device_time_ms - clock.now_ms()) < 60_000


def test_an_ignition_that_goes_off_is_committed_at_once(
    tmp_path: Path,
    outbox: Outbox,
    clock: Clock,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    """With all that waits: the power may be gone a moment later."""
    (tmp_path / "body.dbc").write_text(
        'VERSION ""\n\nBS_:\n\nBU_: X\n\nBO_ 256 Body: 1 X\n'
        ' SG_ Ignition : 0|1@1+ (1,0) [0|1] "" X\n'
    )
    mapping = tmp_path / "body.toml"
    mapping.write_text(
        'dbc = "body.dbc"\n[[signals]]\nsignal = "Body.Ignition"\nfield = "drive.is_ignition_on"\n'
    )
    settings = CanSettings(channel="body-1", mapping=mapping, interface="virtual", cadence_s=0.1)
    source = CanSource("body", settings, outbox, clock)
    outbox.reconfigure(Bounds(), 3_600.0).result(10)
    source.start()
    until(lambda: source.state()["link"] == "open")
    try:
        with can.Bus("body-1", interface="virtual") as bus:
            for is_on in (1, 0):
                before = int(source.state()["readings"])
                bus.send(can.Message(arbitration_id=256, data=[is_on], is_extended_id=False))
                until(lambda before=before: int(source.state()["readings"]) > before)  # type: ignore[misc]
        until(lambda: bool(readings_in(outbox_path)))
    finally:
        source.stop()
    events = [one.code for one in readings_in(outbox_path) if isinstance(one, Event)]
    assert events == ["ignition_off"]


def test_an_adapter_on_a_serial_line_is_read(
    listen: Callable[..., CanSource], outbox_path: Path, readings_in: ReadingsIn, until: Until
) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    try:
        source = listen("slcan", os.ttyname(slave))
        until(lambda: source.state()["link"] == "open")
        os.write(master, f"T{STATE_ID:08X}8{STATE.hex().upper()}\r".encode())
        until(lambda: bool(readings_in(outbox_path)))
        reading = readings_in(outbox_path)[0]
        assert isinstance(reading, BatteryReading)
        assert reading.pack_voltage_v == 540.0
    finally:
        source.stop()
        os.close(slave)
        os.close(master)


def test_a_bus_that_is_not_there_is_tried_again(
    listen: Callable[..., CanSource], until: Until
) -> None:
    source = listen("socketcan", "nosuchcan0")
    until(lambda: int(source.state()["lost"]) > 0)
    assert "gone" in str(source.state()["link"])
