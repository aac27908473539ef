"""Areas and routes the terminal watches: circles, rectangles, polygons, routes.

Times are YYMMDDhhmmss in GMT+8; a field of zeros repeats: 000000083000 is every day at half past
eight. Coordinates are unsigned, attribute bits say south and west.
"""

from dataclasses import dataclass
from typing import Annotated

from greenhaul_protocols.jt808.declaration import Record, counted_list, message
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    Byte,
    Byte_,
    Bytes,
    ByVersion,
    Counted,
    Degrees,
    Dword,
    Dword_,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.notes import BitNames, Meanings, has_bit
from greenhaul_protocols.jt808.texts import Text

_TIMED, _LIMITED = has_bit("attributes", 0), has_bit("attributes", 1)

AREA_BITS = BitNames(
    {
        0: "has_times",
        1: "has_speed_limit",
        2: "enter_tells_driver",
        3: "enter_tells_platform",
        4: "leave_tells_driver",
        5: "leave_tells_platform",
        6: "south",
        7: "west",
        8: {2013: "doors_forbidden"},
        14: {2013: "radio_off_inside"},
        15: {2013: "gnss_detail_inside"},
    }
)

ROUTE_BITS = BitNames(
    {
        0: "has_times",
        2: "enter_tells_driver",
        3: "enter_tells_platform",
        4: "leave_tells_driver",
        5: "leave_tells_platform",
    }
)

SEGMENT_BITS = BitNames({0: "has_times", 1: "has_speed_limit", 2: "south", 3: "west"})

AREA_ACTIONS = Meanings({0: "replace all", 1: "append", 2: "modify"})

QUERIED_TYPES = Meanings({1: "circles", 2: "rectangles", 3: "polygons", 4: "routes"})

_Time = Annotated[str | None, Bcd(6), _TIMED]
_Speed = Annotated[int | None, Word_, _LIMITED]
_Seconds = Annotated[int | None, Byte_, _LIMITED]
_NightSpeed = Annotated[int | None, ByVersion({2019: Word_}), _LIMITED]
_Name = Annotated[str | None, ByVersion({2019: Text(Word_)})]
_Ids = Annotated[tuple[int, ...], Counted(Byte_, Dword_)]  # none: all; 125 at most


@dataclass(frozen=True, slots=True)
class Circle:
    """One circle of 0x8600."""

    area_id: Dword
    attributes: Annotated[Word, AREA_BITS]
    latitude_deg: Degrees
    longitude_deg: Degrees
    radius_m: Dword
    start_time: _Time = None
    end_time: _Time = None
    speed_max_kmh: _Speed = None
    overspeed_s: _Seconds = None
    night_speed_max_kmh: _NightSpeed = None
    name: _Name = None


@message(0x8600, clause="8.35")
@dataclass(frozen=True, slots=True)
class CircleSetting:
    """Circles to watch (设置圆形区域)."""

    action: Annotated[Byte, AREA_ACTIONS]
    areas: Annotated[tuple[Circle, ...], counted_list(Circle)]


@message(0x8601, clause="8.36")
@dataclass(frozen=True, slots=True)
class CircleDeletion:
    """Circles to forget (删除圆形区域)."""

    area_ids: _Ids = ()


@dataclass(frozen=True, slots=True)
class Rectangle:
    """One rectangle of 0x8602."""

    area_id: Dword
    attributes: Annotated[Word, AREA_BITS]
    top_latitude_deg: Degrees
    left_longitude_deg: Degrees
    bottom_latitude_deg: Degrees
    right_longitude_deg: Degrees
    start_time: _Time = None
    end_time: _Time = None
    speed_max_kmh: _Speed = None
    overspeed_s: _Seconds = None
    night_speed_max_kmh: _NightSpeed = None
    name: _Name = None


@message(0x8602, clause="8.37")
@dataclass(frozen=True, slots=True)
class RectangleSetting:
    """Rectangles to watch (设置矩形区域)."""

    action: Annotated[Byte, AREA_ACTIONS]
    areas: Annotated[tuple[Rectangle, ...], counted_list(Rectangle)]


@message(0x8603, clause="8.38")
@dataclass(frozen=True, slots=True)
class RectangleDeletion:
    """Rectangles to forget (删除矩形区域)."""

    area_ids: _Ids = ()


@dataclass(frozen=True, slots=True)
class Vertex:
    """One corner of a polygon."""

    latitude_deg: Degrees
    longitude_deg: Degrees


@message(0x8604, clause="8.39")
@dataclass(frozen=True, slots=True)
class PolygonSetting:
    """A polygon to watch (设置多边形区域)."""

    area_id: Dword
    attributes: Annotated[Word, AREA_BITS]
    start_time: _Time = None
    end_time: _Time = None
    speed_max_kmh: _Speed = None
    overspeed_s: _Seconds = None
    vertices: Annotated[
        tuple[Vertex, ...],
        ByVersion(
            {
                2011: Counted(Word_, Record(Vertex), packet_count=Byte_),
                2013: Counted(Word_, Record(Vertex)),
            }
        ),
    ] = ()
    night_speed_max_kmh: _NightSpeed = None
    name: _Name = None


@message(0x8605, clause="8.40")
@dataclass(frozen=True, slots=True)
class PolygonDeletion:
    """Polygons to forget (删除多边形区域)."""

    area_ids: _Ids = ()


@dataclass(frozen=True, slots=True)
class RoutePoint:
    """A turning point; its segment leads to the next point. 2011 has no point id and one time."""

    point_id: Annotated[int | None, ByVersion({2013: Dword_})]
    segment_id: Dword
    latitude_deg: Degrees
    longitude_deg: Degrees
    width_m: Byte
    attributes: Annotated[Byte, SEGMENT_BITS]
    time_max_s: Annotated[int | None, Word_, _TIMED] = None
    time_min_s: Annotated[int | None, ByVersion({2013: Word_}), _TIMED] = None
    speed_max_kmh: _Speed = None
    overspeed_s: _Seconds = None
    night_speed_max_kmh: _NightSpeed = None


@message(0x8606, clause="8.41")
@dataclass(frozen=True, slots=True)
class RouteSetting:
    """A route to keep to (设置路线)."""

    route_id: Dword
    attributes: Annotated[Word, ROUTE_BITS]
    start_time: _Time = None
    end_time: _Time = None
    points: Annotated[
        tuple[RoutePoint, ...],
        ByVersion(
            {
                2011: Counted(Word_, Record(RoutePoint), packet_count=Byte_),
                2013: Counted(Word_, Record(RoutePoint)),
            }
        ),
    ] = ()
    name: _Name = None


@message(0x8607, clause="8.42")
@dataclass(frozen=True, slots=True)
class RouteDeletion:
    """Routes to forget (删除路线)."""

    route_ids: _Ids = ()


@message(0x8608, clause="8.40 (2019)", since=2019)
@dataclass(frozen=True, slots=True)
class AreaQuery:
    """Asks for the areas or routes the terminal has (查询区域或线路数据)."""

    area_type: Annotated[Byte, QUERIED_TYPES]
    area_ids: Annotated[tuple[int, ...], Counted(Dword_, Dword_)] = ()  # none: all


@message(0x0608, clause="8.41 (2019)", since=2019)
@dataclass(frozen=True, slots=True)
class AreaAnswer:
    """The areas or routes (查询区域或线路数据应答). The data repeat bodies of 0x8600, 0x8602,
    0x8604 or 0x8606, with nothing between them: only the terminal's maker knows how many areas
    stand in one, so they stay bytes."""

    area_type: Annotated[Byte, QUERIED_TYPES]
    area_count: Dword
    data: Annotated[bytes, Bytes()]
