"""Mapping files that come with the program, transports, and when a bus is worth a reading."""

import struct
from collections.abc import Iterator
from pathlib import Path

import can
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_edge.sources.can_interface import filters_of, kernel_losses
from greenhaul_edge.sources.can_logs import read_log, replay
from greenhaul_edge.sources.can_mapping import SHIPPED, load_mapping
from greenhaul_edge.sources.can_pace import CanPace
from greenhaul_edge.sources.can_state import CanState
from greenhaul_edge.sources.can_transport import IsoTpTransport, J1939Transport, pgn_of
from greenhaul_protocols.catalogue import BatteryReading, DriveReading, Event, Reading

SAMPLE = Path(__file__).parent.parent.parent / "edge" / "battery.sample.toml"
STATE_ID = 2566844672 & 0x1FFFFFFF


def state_of(name: str) -> CanState:
    """A bus read by a shipped mapping; values are good for a minute."""
    return CanState(load_mapping(Path(name)), "gw/can", 60_000)


def only(readings: list[Reading]) -> Reading:
    """The one reading."""
    (reading,) = readings
    return reading


def j1939_transport(pgn: int, source: int, destination: int, data: bytes) -> Iterator[can.Message]:
    """A long message as a bus carries it."""
    packets = (len(data) + 6) // 7
    control = 32 if destination == 0xFF else 16
    head = struct.pack("<BHBB", control, len(data), packets, 0xFF) + pgn.to_bytes(3, "little")
    base = 0x1C000000 | destination << 8 | source
    yield can.Message(arbitration_id=base | 0xEC0000, data=head, is_extended_id=True)
    for number in range(packets):
        part = data[7 * number : 7 * number + 7].ljust(7, b"\xff")
        yield can.Message(
            arbitration_id=base | 0xEB0000, data=bytes((number + 1,)) + part, is_extended_id=True
        )


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.toml")))
def test_every_shipped_mapping_loads_and_filters(name: str) -> None:
    mapping = load_mapping(Path(name))
    assert filters_of(mapping)


def test_j1939_battery_by_parameter_group_whoever_sends_it() -> None:
    state = state_of("j1939-hvess")
    data = bytes.fromhex("D007B004302AB478")
    for priority, source in ((6, 0xF3), (3, 0x42)):
        state.take(priority << 26 | 0xF090 << 8 | source, True, data, 1_000)
        reading = only(state.readings(1_000, 1))
        assert isinstance(reading, BatteryReading)
        assert (reading.pack_voltage_v, reading.pack_current_a) == (540.0, -55.0)


def test_j1939_sentinels_are_not_scaled() -> None:
    state = state_of("j1939-hvess")
    state.take(0x18F091F3, True, struct.pack("<HHHH", 0xFFFF, 0xFE00, 3_900, 0xFFFF), 1_000)
    reading = only(state.readings(1_000, 1))
    assert isinstance(reading, BatteryReading)
    assert reading.soc_percent is reading.cell_voltage_max_v is None
    assert reading.cell_voltage_min_v == 3.9


def test_a_value_said_to_be_unknown_replaces_what_was_known() -> None:
    state = state_of("j1939-hvess")
    for voltage, at_ms in ((3_900, 1_000), (0xFFFF, 2_000)):
        state.take(0x18F091F3, True, struct.pack("<HHHH", 32_000, voltage, 3_900, 0), at_ms)
    reading = only(state.readings(2_000, 1))
    assert isinstance(reading, BatteryReading)
    assert (reading.soc_percent, reading.cell_voltage_max_v) == (50.0, None)


@pytest.mark.parametrize("destination", [0x56, 0xFF])
def test_gbt_27930_charging_status_over_several_frames(destination: int) -> None:
    state = state_of("gbt27930")
    data = bytes.fromhex("f00edb0e4c614d2c00")  # 382.4 V, -19.7 A, 3.32 V of group 6, 77 %, 44 min
    for frame in j1939_transport(0x1100, 0xF4, destination, data):
        state.take(frame.arbitration_id, True, bytes(frame.data), 1_000)
    reading = only(state.readings(1_000, 1))
    assert isinstance(reading, BatteryReading)
    assert (reading.soc_percent, reading.charging_state, reading.is_plugged) == (77, 1, True)
    assert reading.pack_voltage_v == pytest.approx(382.4)
    assert reading.pack_current_a == pytest.approx(19.7)  # into the battery is positive in here
    assert reading.cell_voltage_max_v == pytest.approx(3.32)


def test_gbt_27930_temperatures_and_only_the_batterys_word() -> None:
    state = state_of("gbt27930")
    data = bytes.fromhex("1e3606350f0010")
    state.take(0x1813F456, True, data, 1_000)  # from the charger: not believed
    assert not state.readings(1_000, 1)
    state.take(0x181356F4, True, data, 1_000)
    reading = only(state.readings(1_000, 1))
    assert isinstance(reading, BatteryReading)
    assert (reading.cell_temperature_max_c, reading.cell_temperature_min_c) == (4, 3)


def test_parameter_groups_of_ids() -> None:
    assert pgn_of(0x18F090F3) == 0xF090
    assert pgn_of(0x181056F4) == 0x1000
    assert pgn_of(0x0CF00400) == 0xF004


@given(st.integers(9, 1785), st.integers(0, 300), st.data())
def test_a_long_message_arrives_whole_or_not_at_all(
    size: int, lost: int, data: st.DataObject
) -> None:
    payload = bytes(index * 7 & 0xFF for index in range(size))
    frames = list(j1939_transport(0xFEEC, 0x11, 0xFF, payload))
    noise = data.draw(st.lists(st.binary(max_size=8), max_size=4))
    transport = J1939Transport()
    found = []
    for index, frame in enumerate(frames):
        if index == lost:
            continue
        found.append(transport.take(frame.arbitration_id, bytes(frame.data)))
        found += [transport.take(0x1CEBFF77, one) for one in noise]
    whole = [one for one in found if one]
    assert whole == ([(0xFEEC, 0x11, payload)] if lost >= len(frames) else [])


@given(st.integers(8, 4_095), st.integers(0, 700))
def test_an_iso_tp_answer_arrives_whole_or_not_at_all(size: int, lost: int) -> None:
    payload = bytes(index & 0xFF for index in range(size))
    frames = [struct.pack(">H", 0x1000 | size) + payload[:6]]
    for number, at in enumerate(range(6, size, 7), start=1):
        frames.append(bytes((0x20 | number & 0x0F,)) + payload[at : at + 7].ljust(7, b"\xaa"))
    transport = IsoTpTransport()
    found = [transport.take(0x7EC, one) for index, one in enumerate(frames) if index != lost]
    expected = [payload] if lost >= len(frames) else []
    assert [one for one in found if one] == expected
    assert transport.take(0x7EC, b"\x03\x62\x01\x01") == b"\x62\x01\x01"


def state_frame(*, charging: int = 3, fault: int = 0, plugged: bool = False) -> bytes:
    """The sample battery's state: 540.0 V, 80.5 %."""
    return struct.pack("<HHHBB", 5_400, 10_550, 805, charging, fault | plugged << 2)


class Bus:
    """The sample battery, second by second."""

    def __init__(self, cadence_ms: int) -> None:
        self.state = CanState(load_mapping(SAMPLE), "gw/can", 30_000)
        self.pace = CanPace(self.state, "gw/can", cadence_ms)

    def run(self, from_s: int, to_s: int, data: bytes) -> list[Reading]:
        """Ten frames a second of one content; what is kept."""
        found: list[Reading] = []
        for at_ms in range(from_s * 1000, to_s * 1000, 100):
            self.state.take(STATE_ID, True, data, at_ms)
            found += self.pace.turn(at_ms, at_ms)
        return found


def test_a_calm_bus_is_read_at_its_cadence() -> None:
    bus = Bus(10_000)
    readings = bus.run(0, 101, state_frame())
    assert len(readings) == 10
    assert bus.state.counts.unchanged == 1_009


def test_a_silent_bus_says_nothing() -> None:
    bus = Bus(10_000)
    bus.run(0, 20, state_frame())
    later = [one for at_ms in range(20_000, 90_000, 500) for one in bus.pace.turn(at_ms, at_ms)]
    assert len(later) <= 1


def test_plug_and_charging_state_are_events_and_hurry_the_pace() -> None:
    bus = Bus(10_000)
    bus.run(0, 100, state_frame())
    found = bus.run(100, 140, state_frame(charging=1, plugged=True))
    events = [one for one in found if isinstance(one, Event)]
    assert [one.code for one in events] == ["plug_in", "charging_state"]
    assert events[1].detail == '{"from": 3, "to": 1}'
    assert 10 + 2 <= len(found) - len(events) <= 10 + 4


def test_a_fault_of_level_3_uploads_thirty_seconds_before_and_after() -> None:
    bus = Bus(10_000)
    calm = bus.run(0, 105, state_frame())
    fault = bus.run(105, 200, state_frame(fault=3))
    times_s = sorted(
        one.device_time_ms // 1000 for one in [*calm, *fault] if isinstance(one, BatteryReading)
    )
    assert len(times_s) == len(
        {one.device_time_ms for one in [*calm, *fault] if isinstance(one, BatteryReading)}
    )
    assert set(range(77, 134)) <= set(times_s)
    assert [one.code for one in fault if isinstance(one, Event)] == ["fault_level"]
    assert sum(one > 140 for one in times_s) <= 7


def test_an_ignition_line_is_an_event(tmp_path: Path) -> None:
    (tmp_path / "body.dbc").write_text(
        'VERSION ""\n\nBS_:\n\nBU_: X\n\nBO_ 256 Body: 1 X\n'
        ' SG_ Ignition : 0|1@1+ (1,0) [0|1] "" X\n'
    )
    path = tmp_path / "body.toml"
    path.write_text(
        'dbc = "body.dbc"\n[[signals]]\nsignal = "Body.Ignition"\nfield = "drive.is_ignition_on"\n'
    )
    state = CanState(load_mapping(path), "gw/can", 30_000)
    pace = CanPace(state, "gw/can", 10_000)
    found: list[Reading] = []
    for at_ms, is_on in ((0, 0), (1_000, 1), (2_000, 1), (3_000, 0)):
        state.take(256, False, bytes((is_on,)), at_ms)
        found += pace.turn(at_ms, at_ms)
    assert [one.code for one in found if isinstance(one, Event)] == ["ignition_on", "ignition_off"]


def test_codes_are_translated_and_others_not_said(tmp_path: Path) -> None:
    (tmp_path / "b.dbc").write_text((SAMPLE.parent / "battery.sample.dbc").read_text())
    path = tmp_path / "b.toml"
    path.write_text(
        'dbc = "b.dbc"\n[[signals]]\nsignal = "BMS_State.ChargingState"\n'
        'field = "battery.charging_state"\nvalues = { 0 = 3, 1 = 1 }\n'
    )
    state = CanState(load_mapping(path), "gw/can", 30_000)
    for raw, expected in ((0, 3), (1, 1), (2, None)):
        state.take(STATE_ID, True, state_frame(charging=raw), 1_000)
        assert state.value(2, "charging_state", 1_000) == expected


@pytest.mark.parametrize("suffix", ["log", "asc", "blf", "csv", "trc"])
def test_a_recording_in_any_format_gives_what_the_bus_gave(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bus.{suffix}"
    with can.Logger(path) as writer:
        for at_ms in range(0, 20_000, 100):
            writer(
                can.Message(
                    timestamp=1_790_000_000 + at_ms / 1000,
                    arbitration_id=STATE_ID,
                    data=state_frame(),
                    is_extended_id=True,
                    channel=0,
                )
            )
    bus = Bus(1_000)
    readings = list(replay(read_log(path), bus.state, bus.pace))
    assert bus.state.counts.frames == 200
    assert 18 <= len(readings) <= 21
    assert all(isinstance(one, BatteryReading) and one.soc_percent == 80.5 for one in readings)


MAPPINGS = [load_mapping(Path(n)) for n in ("gbt27930", "nissan-leaf-2019-uds", "j1939-hvess")]


@given(st.integers(0, 0x1FFFFFFF), st.booleans(), st.binary(max_size=64))
def test_no_frame_raises(frame_id: int, is_extended: bool, data: bytes) -> None:
    for mapping in MAPPINGS:
        state = CanState(mapping, "gw/can", 60_000)
        for key in (frame_id, 0x1CEC56F4, 0x1CEB56F4, 0x18F091F3):
            state.take(key, is_extended, data, 0)
        for standard in (0x7BB, frame_id & 0x7FF):
            state.take(standard, False, data, 0)
        state.readings(0, 0)


def test_what_the_kernel_lost_is_read_where_it_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "can0" / "statistics"
    folder.mkdir(parents=True)
    (folder / "rx_dropped").write_text("3\n")
    (folder / "rx_over_errors").write_text("4\n")
    assert kernel_losses("can0", tmp_path) == 7
    assert kernel_losses("can1", tmp_path) is None
    assert kernel_losses("../can0", tmp_path) is None


def test_a_drive_reading_of_a_truck() -> None:
    state = state_of("j1939-hvess")
    state.take(0x18FEF100, True, bytes.fromhex("ff0032ffffffffff"), 0)
    reading = only(state.readings(0, 0))
    assert isinstance(reading, DriveReading)
    assert reading.speed_kmh == 50.0


def test_messages_never_heard_and_fields_no_longer_heard_are_named() -> None:
    state = CanState(load_mapping(SAMPLE), "gw/can", 1_000)
    assert state.never_heard() == ["BMS_Cells", "BMS_State"]
    state.take(STATE_ID, True, state_frame(), 0)
    state.take(0x123, False, b"", 0)
    assert state.never_heard() == ["BMS_Cells"]
    assert state.stale_fields(500) == []
    assert "battery.soc_percent" in state.stale_fields(5_000)
    assert state.unknown_ids == {(0x123, False)}
