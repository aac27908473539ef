"""`fences import` and `fences export`: what goes out comes in again; the past is asked about."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert
from tests.cloud.api_city import square_fence

from greenhaul_cloud.clock import system_now_ms
from greenhaul_cloud.fence_export import write_features
from greenhaul_cloud.fence_file import read_features
from greenhaul_cloud.fences.feature import parse_feature
from greenhaul_cloud.main import main
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.engine import open_store
from greenhaul_cloud.store.tables import vehicle
from greenhaul_cloud.store.write import store_blocks
from greenhaul_cloud.terminal_areas.areas import area_of
from greenhaul_cloud.terminal_areas.features import feature_of
from greenhaul_cloud.terminal_areas.messages import features_of_lines, lines_of
from greenhaul_protocols.errors import ConfigError, EncodeError, Rejected
from greenhaul_protocols.jt808.conversation import Conversation
from greenhaul_protocols.jt808.messages_areas import (
    Circle,
    CircleSetting,
    PolygonSetting,
    Rectangle,
    RectangleSetting,
    RoutePoint,
    RouteSetting,
    Vertex,
)
from greenhaul_protocols.times import format_time

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.conftest import Kit

PHONE = "13912345678"
HOLE = [[112.51, 32.99], [112.52, 32.99], [112.52, 33.0], [112.51, 32.99]]
RULES = [{"rule": "no_entry", "hours": "Mo-Fr 07:00-22:00; PH off"}]


def fences() -> list[dict[str, Any]]:
    """One of each geometry, with texts that look like other things."""
    square = square_fence(
        "17", name='<b>"老城" & 环路', rules=RULES, applies_to={"tags_any": ["a,b"]}
    )
    ring = square["geometry"]["coordinates"][0]
    holed = {**square["geometry"], "coordinates": [ring, HOLE]}
    parts = {"type": "MultiPolygon", "coordinates": [[ring, HOLE], [HOLE]]}
    line = {"type": "LineString", "coordinates": [[112.5, 33.0], [112.123456789012, 33.1]]}
    point = {"type": "Point", "coordinates": [112.5, 33.0]}
    return [
        {**square, "geometry": holed},
        {**square_fence("parts", name="true"), "geometry": parts},
        {**square_fence("road", half_width_m=25.5, timezone="Asia/Urumqi"), "geometry": line},
        {**square_fence("depot", radius_m=80, note=" [1] "), "geometry": point},
    ]


@pytest.mark.parametrize("ending", ["geojson", "kml"])
def test_what_is_written_is_read_again(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"fences.{ending}"
    write_features(path, fences(), phone=PHONE, revision=2019)
    assert read_features(path) == fences()


def test_a_kml_file_is_in_wgs84(tmp_path: Path) -> None:
    shifted = square_fence("amap", datum="gcj02")
    write_features(tmp_path / "a.kml", [shifted], phone=PHONE, revision=2019)
    [read] = read_features(tmp_path / "a.kml")
    assert read["properties"]["datum"] == "wgs84"
    # edges straight in GCJ-02 are not quite straight in WGS-84: over 5 km they differ by decimetres
    there, here = parse_feature(shifted).area, parse_feature(read).area
    assert 0 < there.symmetric_difference(here).area < 2e-4 * there.area
    assert read["geometry"] != shifted["geometry"]


def test_wkt_has_areas_alone(tmp_path: Path) -> None:
    path = tmp_path / "fences.wkt"
    write_features(path, fences()[:2], phone=PHONE, revision=2019)
    assert [one["geometry"] for one in read_features(path)] == [
        one["geometry"] for one in fences()[:2]
    ]
    with pytest.raises(Rejected, match=r"'road'.*KML"):
        write_features(path, fences(), phone=PHONE, revision=2019)


@pytest.mark.parametrize("revision", [2011, 2013, 2019])
def test_frames_come_back_bit_for_bit(revision: int) -> None:
    is_new = revision == 2019
    name = "老城" if is_new else None
    timed = "000000083000", "000000180000"
    night_kmh = 30 if is_new else None
    circles = tuple(
        Circle(n, 0xC1CF, 32.9, 112.5, 500, *timed, 40, 15, night_kmh, name) for n in (1, 2)
    )
    rectangle = Rectangle(1, 0xFFFC, 33.0, 112.5, 32.9, 112.6, name=name)
    # long enough to be split over packets
    corners = tuple(Vertex(30 + n / 1e6, 112 + (n * n) / 1e6) for n in range(255))
    polygon = PolygonSetting(1, 0, vertices=corners, name=name)
    point_id = None if revision == 2011 else 7
    way = tuple(RoutePoint(point_id, n, 32.99, 112.5 + n / 100, 20, 0) for n in range(3))
    route = RouteSetting(1, 0xC03C, points=way, name=name)
    messages = [
        CircleSetting(0, circles),
        RectangleSetting(2, (rectangle,)),
        polygon,
        route,
    ]
    conversation = Conversation(phone=PHONE, revision=revision)
    lines = [frame.hex() for message in messages for frame in conversation.send_frames(message)]
    features = features_of_lines("\n".join(lines), revision)
    assert len({feature["properties"]["id"] for feature in features}) == 5
    assert list(lines_of(features, PHONE, revision)) == lines
    # other order of lines of another message, or the same twice, changes nothing
    again = features_of_lines("\n".join([*lines, *lines]), revision)
    assert again == features


def test_an_area_of_one_revision_goes_to_terminals_of_another() -> None:
    old = feature_of(Circle(1, 2, 32.9, 112.5, 500, speed_max_kmh=40, overspeed_s=5))
    way = tuple(RoutePoint(None, n, 32.99, 112.5 + n / 100, 20, 0) for n in range(3))
    route = feature_of(RouteSetting(9, 0, points=way))
    [circle, again] = features_of_lines("\n".join(lines_of([old, route], PHONE, 2019)))
    assert circle["properties"]["rules"][-1]["night_limit_kmh"] == 40
    assert [point["point_id"] for point in again["properties"]["jt808"]["points"]] == [0, 1, 2]
    [circle, again] = features_of_lines("\n".join(lines_of([circle, again], PHONE, 2011)), 2011)
    assert (circle["properties"]["rules"], again["geometry"]) == (
        old["properties"]["rules"],
        route["geometry"],
    )
    dark = feature_of(Circle(1, 2, 32.9, 112.5, 500, None, None, 40, 5, 30))
    with pytest.raises(EncodeError, match="30 has no place in 2013"):
        list(lines_of([dark], PHONE, 2013))


def test_frames_that_contradict_or_miss_packets_are_refused() -> None:
    def lines(*messages: Any) -> str:
        conversation = Conversation(phone=PHONE, revision=2019)
        frames = [frame for one in messages for frame in conversation.send_frames(one)]
        return "\n".join(frame.hex() for frame in frames)

    one = CircleSetting(0, (Circle(1, 0, 32.9, 112.5, 500, name=""),))
    other = CircleSetting(0, (Circle(1, 0, 32.9, 112.5, 600, name=""),))
    with pytest.raises(ValueError, match=r"line 2: jt808-circle-1 .* line 1"):
        features_of_lines(lines(one, other))
    long = PolygonSetting(1, 0, vertices=tuple(Vertex(30, n / 1e6) for n in range(300)), name="")
    with pytest.raises(ValueError, match=r"0x8604.*misses packets"):
        features_of_lines(lines(long).split("\n")[0])
    with pytest.raises(ValueError, match="line 1: checksum"):
        features_of_lines(lines(one)[:-4] + "007e")


def test_more_circles_than_a_message_counts_are_more_messages() -> None:
    features = [feature_of(Circle(n, 0, 32.9, 112.5, 500)) for n in range(300)]
    for feature in features:
        feature["properties"]["jt808"]["action"] = 0
    decoded = features_of_lines("\n".join(lines_of(features, PHONE, 2013)), 2013)
    assert [one["properties"]["jt808"]["area_id"] for one in decoded] == list(range(300))
    actions = [one["properties"]["jt808"]["action"] for one in decoded]
    assert actions == [0] * 255 + [1] * 45


def test_fences_drawn_here_get_free_numbers_and_the_datum_of_terminals(tmp_path: Path) -> None:
    taken = feature_of(Circle(1, 0, 32.9, 112.5, 500))
    drawn = [square_fence(name) for name in ("a", "b")]
    decoded = features_of_lines("\n".join(lines_of([*drawn, taken], PHONE, 2019)))
    assert sorted(one["properties"]["jt808"]["area_id"] for one in decoded) == [1, 2, 3]
    shifted = square_fence("amap", datum="gcj02")
    ring = shifted["geometry"]["coordinates"][0]
    holed = {**square_fence("holed"), "geometry": {"type": "Polygon", "coordinates": [ring, HOLE]}}
    with pytest.raises(Rejected, match=r"'holed'.*holes"):
        write_features(tmp_path / "a.hex", [holed], phone=PHONE, revision=2019)
    write_features(tmp_path / "a.hex", [shifted], phone=PHONE, revision=2019)
    [read] = read_features(tmp_path / "a.hex")
    polygon = area_of(read)
    assert isinstance(polygon, PolygonSetting)
    assert 300 < abs(polygon.vertices[0].longitude_deg - 112.5) * 93_000 < 900


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cloud.toml").write_text('[store]\nurl = "sqlite:///c.db"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["fences", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_commands_go_round(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(folder / "a.kml", fences(), phone=PHONE, revision=2019)
    assert run("import", "a.kml", capsys=capsys)[1] == "4 fences: 4 new\n"
    for name in ("b.geojson", "b.kml"):
        assert run("export", name, capsys=capsys)[1] == f"{name}: 4 fences\n"
        assert run("import", name, capsys=capsys)[1] == "4 fences: 4 as before\n"
    assert run("export", "c.hex", "depot", capsys=capsys)[0] == 0
    assert run("import", "c.hex", capsys=capsys)[1] == "1 fences: 1 new\n"
    code, _, err = run("export", "c.hex", "nowhere", capsys=capsys)
    assert (code, "no fence 'nowhere'" in err) == (1, True)
    assert run("export", "c.shp", capsys=capsys)[0] == 2
    (folder / "d.wkt").write_text("x\tPOINT (1 2)\nx\tPOINT (1 3)\n")
    code, _, err = run("import", "d.wkt", capsys=capsys)
    assert (code, "2 fences have the id 'x'" in err) == (1, True)


def test_an_import_into_a_told_past_is_tried_and_applied(
    folder: Path, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    now_ms = system_now_ms()
    store = open_store("sqlite:///c.db", now_ms)
    kit.register(store)
    said = [kit.position("808:1", now_ms - 7_200_000 + n * 10_000) for n in range(5)]
    store_blocks(store, [kit.outbox(readings=said).received(1, 5)], now_ms)
    with store.write() as conn:
        conn.execute(insert(vehicle).values(id="v1", created_at=now_ms))
        bind(conn, "808:1", "v1", valid_from_ms=0, now_ms=now_ms)
    store.close()
    late = square_fence("late", valid_from=format_time(now_ms - 86_400_000))
    (folder / "late.json").write_text(json.dumps(late))
    code, _, err = run("import", "late.json", capsys=capsys)
    assert (code, "dry-run" in err) == (1, True)
    code, out, err = run("import", "late.json", "--dry-run", capsys=capsys)
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(one["fence_id"], one["what"], one["change"]) for one in told] == [
        ("late", "visit", "added"),
        ("late", "violation", "added"),
    ]
    assert "2 visits and violations would differ; nothing written" in err
    assert run("import", "late.json", "--apply", capsys=capsys)[1] == "1 fences: 1 new\n"
    assert run("import", "late.json", "--apply", capsys=capsys)[1] == "1 fences: 1 as before\n"


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not one of .*\.hex"):
        read_features(write_features_to(tmp_path / "a.shp"))


def write_features_to(path: Path) -> Path:
    path.write_text("")
    return path
