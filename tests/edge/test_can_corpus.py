"""Recorded buses of real vehicles, each read by a mapping file: no code knows a vehicle."""

import importlib.util
from pathlib import Path

import pytest

from greenhaul_edge.sources.can_logs import read_log, replay
from greenhaul_edge.sources.can_mapping import load_mapping
from greenhaul_edge.sources.can_pace import CanPace
from greenhaul_edge.sources.can_state import CanState
from greenhaul_protocols.catalogue import Reading

pytestmark = pytest.mark.corpus

NEEDS_MF4 = pytest.mark.skipif(
    importlib.util.find_spec("asammdf") is None, reason="MF4 logs need asammdf"
)


def readings_of(log: Path, mapping: Path, channel: str = "") -> list[Reading]:
    """What a gateway on that bus would have kept at one reading a second."""
    state = CanState(load_mapping(mapping), "gw/can", 60_000)
    pace = CanPace(state, "gw/can", 1_000)
    return list(replay(read_log(log), state, pace, channel=channel))


def values(readings: list[Reading], name: str) -> list[float]:
    """A field's values in order."""
    found = [getattr(reading, name, None) for reading in readings]
    return [value for value in found if value is not None]


def foreign_mapping(tmp_path: Path, dbc: Path, *signals: str, top: str = "") -> Path:
    """A mapping file for somebody's own DBC file: `MESSAGE.SIGNAL field` each."""
    path = tmp_path / "mapping.toml"
    tables = [
        f'[[signals]]\nsignal = "{signal}"\nfield = "{field}"\n'
        for signal, field in (one.split() for one in signals)
    ]
    path.write_text(f'dbc = "{dbc}"\n{top}\n' + "\n".join(tables))
    return path


KONA = "kona2019_230112-7-pcan-ccan-power-off-on-ready-off.csv.gz"
TRUCK = "css_11111111_j1939-truck-gnss.MF4.gz"
CAR_800V = "css_2F6913DB_00001089_1_ev-uds-gnss.MF4"


def test_kona_2019_shows_36_5_percent(shared: Path) -> None:
    readings = readings_of(shared / "data/can" / KONA, Path("hyundai-kona-2019"), "0")
    assert set(values(readings, "soc_percent")) == {36.5}
    assert all(350 < voltage_v < 360 for voltage_v in values(readings, "pack_voltage_v"))


def test_kona_2019_by_the_dbc_file_as_published_without_bs(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/can"
    mapping = foreign_mapping(
        tmp_path, folder / "kona_pcan.dbc", "BatteryLimits.SoC_Maybe battery.soc_percent"
    )
    assert set(values(readings_of(folder / KONA, mapping, "0"), "soc_percent")) == {35.5}


def test_tesla_charger_voltages_and_currents(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/can"
    log = folder / "furdog_tesla-gen3-charger_237VAC_387VDC.csv"
    mapping = foreign_mapping(
        tmp_path,
        folder / "furdog_tg3spm.dbc",
        "mod1_DC_params.voltage_V battery.pack_voltage_v",
        "mod1_DC_params.current_A battery.pack_current_a",
        "mod1_AC_params.voltage_V drive.motor_torque_nm",  # a field to see the mains voltage in
    )
    readings = readings_of(log, mapping)
    voltages_v, currents_a = (
        values(readings, name) for name in ("pack_voltage_v", "pack_current_a")
    )
    assert 387.26 <= min(voltages_v) <= max(voltages_v) <= 391.03
    assert 0.05 <= min(currents_a) <= max(currents_a) <= 2.38
    mains_v = values(readings, "motor_torque_nm")
    assert 159 <= min(mains_v) <= max(mains_v) <= 239


@NEEDS_MF4
def test_leaf_2019_falls_from_89_23_to_89_10_percent(shared: Path) -> None:
    log = shared / "data/can/css_2F6913DB_leaf2019-uds-gnss.MF4"
    socs_percent = values(readings_of(log, Path("nissan-leaf-2019-uds")), "soc_percent")
    assert (round(socs_percent[0], 2), round(socs_percent[-1], 2)) == (89.23, 89.10)


@NEEDS_MF4
@pytest.mark.parametrize(
    ("log", "soc_percent"), [("css_17BD1DB7_kona-ev-uds.MF4", 50.0), (CAR_800V, 83.5)]
)
def test_uds_answers_overheard(shared: Path, log: str, soc_percent: float) -> None:
    readings = readings_of(shared / "data/can" / log, Path("hyundai-kia-uds"))
    assert set(values(readings, "soc_percent")) == {soc_percent}


@NEEDS_MF4
def test_a_gnss_module_on_the_bus_whose_dbc_names_messages_twice(
    shared: Path, tmp_path: Path
) -> None:
    folder = shared / "data/can"
    mapping = foreign_mapping(
        tmp_path,
        folder / "css_gnss.dbc",
        "gnss_pos.Latitude position.latitude_deg",
        "gnss_pos.Longitude position.longitude_deg",
    )
    readings = readings_of(folder / CAR_800V, mapping)
    assert {round(one, 2) for one in values(readings, "latitude_deg")} <= {56.07, 56.08}
    assert {round(one, 1) for one in values(readings, "longitude_deg")} == {10.2}


@NEEDS_MF4
def test_j1939_engine_speed_of_a_truck_by_parameter_group(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/can"
    speeds_rpm = values(readings_of(folder / TRUCK, Path("j1939-hvess")), "motor_speed_rpm")
    assert 646 <= min(speeds_rpm) <= max(speeds_rpm) <= 654
    foreign = foreign_mapping(
        tmp_path,
        folder / "css_j1939-demo.dbc",
        "EEC1.EngineSpeed drive.motor_speed_rpm",
        "CCVS1.WheelBasedVehicleSpeed drive.speed_kmh",
        top='match = "pgn"',
    )
    readings = readings_of(folder / TRUCK, foreign)
    assert values(readings, "motor_speed_rpm") == speeds_rpm
    assert set(values(readings, "speed_kmh")) == {0.0}


@pytest.mark.parametrize(
    ("log", "frames"),
    [
        ("savvycan_candump.log", 12_974),
        ("pythoncan_issue_1256.asc", 1_457),
        ("pythoncan_test_CanMessage.blf", 2),
        ("furdog_tesla-gen3-charger_237VAC_387VDC.csv", 14_554),
        ("kona2021_221210-2-dcan-car-scanner-elm327-vcu-mcu-only.csv", 638),
        (KONA, 39_546),
        pytest.param("css_17BD1DB7_kona-ev-uds.MF4", 2_010, marks=NEEDS_MF4),
    ],
)
def test_every_format_gives_the_frames_its_readme_counts(
    shared: Path, log: str, frames: int
) -> None:
    assert sum(1 for _ in read_log(shared / "data/can" / log)) == frames
