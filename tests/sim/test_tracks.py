"""Files of recorded drives: what is read, what is not, and that nothing is guessed."""

import json
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest

from greenhaul_protocols.errors import ConfigError, DecodeError, Unavailable
from greenhaul_protocols.times import format_time
from greenhaul_sim.tracks import LocalTimes, Track, read_track
from greenhaul_sim.tracks.frames import has_frames, read_frames
from greenhaul_sim.tracks.point import zone_of

GPX = """<?xml version="1.0"?>
<gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1">
  <wpt lat="1" lon="1"/>
  <trk><trkseg>
    <trkpt lat="32.9900014" lon="112.5300006"><ele>130.4</ele>
      <time>2026-11-20T08:00:00.500Z</time></trkpt>
    <trkpt lat="32.9910000" lon="112.5300000"/>
  </trkseg><trkseg>
    <trkpt lat="91" lon="112.53"><time>2026-11-20T08:00:05+08:00</time></trkpt>
  </trkseg></trk>
</gpx>
"""


def read(tmp_path: Path, text: str, times: LocalTimes | None = None) -> Track:
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    return read_track(path, times or LocalTimes())


def times_of(track: Track) -> list[str | None]:
    return [None if p.time_ms is None else format_time(p.time_ms) for p in track.points]


def test_gpx_gives_the_points_of_all_segments_and_no_way_points(tmp_path: Path) -> None:
    track = read(tmp_path, GPX)
    assert times_of(track) == ["2026-11-20T08:00:00.500Z", None, "2026-11-20T00:00:05Z"]
    assert track.points[0].latitude_deg == 32.9900014
    assert track.points[0].altitude_m == 130.4
    assert track.is_dated


def test_a_list_of_well_known_text_points(tmp_path: Path) -> None:
    text = json.dumps(
        [
            {"point": "POINT(11.56 48.16)", "time": "2014-09-10 06:54:07+0200"},
            {"point": "LINESTRING(0 0, 1 1)", "time": "2014-09-10 06:54:08+0200"},
            {"time": "2014-09-10 06:54:08+0200"},
            {"point": "POINT(1e1 -4.8E1)"},
        ]
    )
    track = read(tmp_path, text)
    assert [(p.number, p.latitude_deg, p.longitude_deg) for p in track.points] == [
        (1, 48.16, 11.56),
        (4, -48.0, 10.0),
    ]
    assert times_of(track) == ["2014-09-10T04:54:07Z", None]
    assert [each.number for each in track.unreadable] == [2, 3]


@pytest.mark.parametrize(
    "header",
    ["timestamp,position_lat,position_long,speed", "Timestamp,Latitude,Longitude,Speed"],
)
def test_csv_columns_are_found_by_name(tmp_path: Path, header: str) -> None:
    text = f"{header}\n2026-11-20T08:00:00Z,32.99,112.53,12.5\n,32.99,112.53,\nx\n"
    track = read(tmp_path, text)
    assert times_of(track) == ["2026-11-20T08:00:00Z"]
    assert track.points[0].speed_kmh == 12.5
    assert [each.number for each in track.unreadable] == [2, 3]


def test_local_times_want_a_zone(tmp_path: Path) -> None:
    text = "time;lat;lon\n2026-07-01 08:00:00;53.3;-6.2\n"
    with pytest.raises(ConfigError, match="--timezone"):
        read(tmp_path, text)
    summer = read(tmp_path, text, LocalTimes(zone_of("Europe/Dublin")))
    assert times_of(summer) == ["2026-07-01T07:00:00Z"]
    offset = read(tmp_path, text, LocalTimes(zone_of("+08:00")))
    assert times_of(offset) == ["2026-07-01T00:00:00Z"]


def test_slashed_dates_are_read_only_when_the_order_is_known(tmp_path: Path) -> None:
    zone = LocalTimes(UTC)
    ambiguous = "Date,Time,LAT,LON\n04/05/2021,14:44:08,33.9,-6.7\n"
    with pytest.raises(ConfigError, match="--date-order"):
        read(tmp_path, ambiguous, zone)
    assert times_of(read(tmp_path, ambiguous, LocalTimes(UTC, day_first=True))) == [
        "2021-05-04T14:44:08Z"
    ]
    clear = ambiguous + "04/26/2021,14:44:09,33.9,-6.7\n"
    assert times_of(read(tmp_path, clear, zone))[0] == "2021-04-05T14:44:08Z"


def test_numbers_without_header_are_told_apart_or_refused(tmp_path: Path) -> None:
    epoch = read(tmp_path, "1461054191395,116.300801,40.040426\n")
    assert times_of(epoch) == ["2016-04-19T08:23:11.395Z"]
    assert epoch.points[0].latitude_deg == 40.040426
    relative = read(
        tmp_path, "456250.000  30.4447 114.4718 21.0\n456251.000  30.4448 114.4718 21\n"
    )
    assert not relative.is_dated
    assert relative.points[1].time_ms == 456_251_000
    assert relative.points[1].longitude_deg == 114.4718
    with pytest.raises(DecodeError, match="header"):
        read(tmp_path, "1461054191395,11.56,48.16\n")
    with pytest.raises(DecodeError, match="no latitude"):
        read(tmp_path, "alpha,beta\n1,2\n")


def test_nmea_takes_one_point_an_rmc_with_a_fix(tmp_path: Path) -> None:
    log = (
        "# noise\r\n"
        "$GPGGA,081836.5,3751.65,S,14507.36,E,1,08,0.9,45.4,M,0,M,,*62\r\n"
        "$GPRMC,081836.5,A,3751.65,S,14507.36,E,010.0,360.0,130998,011.3,E*4D\r\n"
        "$GPRMC,081837,V,,,,,,,130998,,E*42\r\n"
        "$GPRMC,081838,A,3751.65,S,14507.36,E,000.0,360.0,130920,011.3,E*00\r\n"
    )
    path = tmp_path / "log"
    path.write_bytes(with_checksums(log).encode())
    track = read_track(path, LocalTimes())
    (point,) = track.points
    assert times_of(track) == ["1998-09-13T08:18:36.500Z"]
    assert point.latitude_deg == pytest.approx(-(37 + 51.65 / 60))
    assert point.longitude_deg == pytest.approx(145 + 7.36 / 60)
    assert point.speed_kmh == pytest.approx(18.52)
    assert point.altitude_m == 45.4
    assert not track.is_dated
    assert [each.reason for each in track.unreadable] == [
        "receiver has no fix",
        "checksum wrong or missing",
    ]


def with_checksums(log: str) -> str:
    """Right checksums everywhere but where a line says *00."""
    lines = []
    for line in log.split("\r\n"):
        if line.startswith("$") and not line.endswith("*00"):
            body = line[1 : line.index("*")]
            total = 0
            for character in body.encode():
                total ^= character
            line = f"${body}*{total:02X}"
        lines.append(line)
    return "\r\n".join(lines)


def test_files_that_are_no_tracks_are_refused_in_one_line(tmp_path: Path) -> None:
    for text in ("<gpx", "[1,", '{"a": 1}', "", "[]"):
        with pytest.raises(DecodeError):
            read(tmp_path, text)
    with pytest.raises(Unavailable):
        read_track(tmp_path / "none", LocalTimes())


def test_zones_by_name_and_offset() -> None:
    assert zone_of("+0530") == timezone(timedelta(hours=5, minutes=30))
    assert zone_of("-8:00") == timezone(-timedelta(hours=8))
    for text in ("Mars/Olympus", "8", "../../etc/passwd", ""):
        with pytest.raises(ConfigError):
            zone_of(text)


def test_frames_are_found_in_text_and_in_bytes() -> None:
    good = "7e000200000139123456780001317e"
    text = f"读到: [{good}]\n14\t{good.upper()} \tx\n7E 00 02 00 00 01 39 12 34 56 78 00 01 31 7E\n"
    frames = read_frames(text.encode())
    assert [frame.raw.hex() for frame in frames] == [good] * 3
    assert has_frames(text.encode())
    binary = bytes.fromhex(good) * 2
    assert [frame.raw.hex() for frame in read_frames(binary)] == [good] * 2
    assert has_frames(binary)
    assert not has_frames(GPX.encode())


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "points", "unreadable", "is_dated"),
    [
        ("barefoot_x0001-001.json", 1194, 0, True),
        ("barefoot_x0001-015.json", 80, 0, True),
        ("dcu_e-bike_trip_1.csv", 970, 0, True),
        ("dcu_e-scooter_trip_1.csv", 93, 0, True),
        ("dcu_e-scooter_trip_10.csv", 107, 0, True),
        ("dcu_e-scooter_trip_3.csv", 195, 0, True),
        ("gpsbabel_garmin_xt_strk.gpx", 958, 0, True),
        ("gpxpy_around-visnjan-with-car.gpx", 104, 0, True),
        ("graphhopper_test1.gpx", 264, 0, False),
        ("kfgins_wuhan_GNSS-RTK.txt", 3413, 0, False),
        ("mapv_beijing_gps.csv", 273, 0, True),
        ("twizy_T2_04_26_2021.csv", 5827, 13, True),
        ("twizy_T3_04_22_2021_1.csv", 1049, 0, True),
    ],
)
def test_other_peoples_tracks(
    shared: Path, name: str, points: int, unreadable: int, is_dated: bool
) -> None:
    track = read_track(shared / "data" / "tracks" / name, LocalTimes(UTC))
    assert (len(track.points), len(track.unreadable)) == (points, unreadable)
    assert track.is_dated == is_dated


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "sentences", "without_fix"),
    [
        ("genivi_20100411_Geko_Regensburg.txt", 790, 16),
        ("gpsd_beidou-bd.log", 10, 5),
        ("gpsd_bt451.log", 17, 4),
        ("gpsd_bu353s4.log", 25, 0),
        ("dotMorten_NmeaSampleData.txt.gz", 4469, 0),
    ],
)
def test_other_peoples_receivers(shared: Path, name: str, sentences: int, without_fix: int) -> None:
    track = read_track(shared / "data" / "nmea" / name, LocalTimes())
    assert len(track.points) + len(track.unreadable) == sentences
    assert len(track.unreadable) == without_fix
