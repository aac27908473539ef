"""Areas and routes in lines of hex frames, as logs have them, as fence features; and back."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from greenhaul_cloud.fences.rings import FeatureError
from greenhaul_cloud.terminal_areas.areas import area_of
from greenhaul_cloud.terminal_areas.features import Area, Feature, Setting, features_of
from greenhaul_protocols.decode import Decoder
from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808.conversation import Conversation
from greenhaul_protocols.jt808.declaration import MESSAGE_IDS
from greenhaul_protocols.jt808.events import PartReceived, Received
from greenhaul_protocols.jt808.messages_areas import (
    Circle,
    CircleSetting,
    PolygonSetting,
    Rectangle,
    RectangleSetting,
    RoutePoint,
    RouteSetting,
)

L = TypeVar("L", bound=Circle | Rectangle | PolygonSetting | RoutePoint)

# One message tells how many areas it has in one byte.
AREAS_MAX = 255
REPLACE_ALL, APPEND = 0, 1  # AREA_ACTIONS
_SETTINGS = CircleSetting, RectangleSetting, PolygonSetting, RouteSetting
_MESSAGE_IDS = frozenset(MESSAGE_IDS[setting] for setting in _SETTINGS)


def features_of_lines(text: str, revision: int | None = None) -> list[Feature]:
    """The areas and routes that the frames in some text set, in order; other messages are passed.

    A file for many terminals says each area once; one that says an area in two ways is refused.
    revision: for frames that do not say it. Raises ValueError that names the line.
    """
    found: dict[str, tuple[int, Feature]] = {}
    for number, message in _settings(text, revision):
        for feature in _features(message, number):
            fence_id = feature["properties"]["id"]
            before, held = found.setdefault(fence_id, (number, feature))
            if held != feature:
                raise ValueError(f"line {number}: {fence_id} is another one in line {before}")
    return [feature for _, feature in found.values()]


def lines_of(features: Iterable[Feature], phone: str, revision: int) -> Iterator[str]:
    """Frames, a line each, that set these areas and routes at a terminal.

    A fence that never was an area gets the next number that is free. Raises EncodeError that names
    the fence a terminal cannot keep.
    """
    given = list(features)
    kept = [(feature["properties"].get("jt808") or {}) for feature in given]
    used = {each["area_id"] for each in kept if "area_id" in each}
    free = (number for number in range(1, len(given) + len(used) + 1) if number not in used)
    areas = []
    for feature, own in zip(given, kept, strict=True):
        try:
            area = area_of(feature, None if "area_id" in own else next(free))
        except EncodeError as error:
            raise EncodeError(f"fence {feature['properties']['id']!r}: {error}") from error
        areas.append((own.get("action", APPEND), _fitted(area, revision)))
    conversation = Conversation(phone=phone, revision=revision)
    for message in _messages(areas):
        yield from (frame.hex() for frame in conversation.send_frames(message))


def _settings(text: str, revision: int | None) -> Iterator[tuple[int, Setting]]:
    """Messages that set areas, with the line that completed each."""
    decoder = Decoder(revision=revision)
    lines = enumerate(text.splitlines(), 1)
    split: dict[tuple[str, int], int] = {}  # line of the last packet, by terminal and message
    for answer in chain.from_iterable((*(decoder.line(*line) for line in lines), decoder.close())):
        number, event = int(answer.json["line"]), answer.event
        if not answer.is_ok:
            raise ValueError(f"line {number}: {answer.json['error']}")
        if isinstance(event, PartReceived) and event.header.message_id in _MESSAGE_IDS:
            split[event.header.phone, event.header.message_id] = number
        elif isinstance(event, Received) and isinstance(event.message, _SETTINGS):
            split.pop((event.header.phone, event.header.message_id), None)
            yield number, event.message
    for (phone, message_id), number in split.items():
        raise ValueError(f"line {number}: 0x{message_id:04X} to {phone} misses packets")


def _features(message: Setting, number: int) -> list[Feature]:
    try:
        return list(features_of(message))
    except FeatureError as error:
        raise ValueError(f"line {number}: {error}") from error


def _fitted(area: Area, revision: int) -> Area:
    """The area as a revision asks for it: 2019 wants names and limits at night, others have none.

    A limit at night that is another one has no place before 2019, and stays to be refused.
    """
    fitted = replace(area, name=(area.name or "") if revision >= 2019 else None)
    if isinstance(fitted, RouteSetting):
        points = tuple(_limited(_numbered(point, revision), revision) for point in fitted.points)
        return replace(fitted, points=points)
    return _limited(fitted, revision)


def _limited(limits: L, revision: int) -> L:
    by_day, by_night = limits.speed_max_kmh, limits.night_speed_max_kmh
    if revision >= 2019:
        return replace(limits, night_speed_max_kmh=by_day if by_night is None else by_night)
    return replace(limits, night_speed_max_kmh=None if by_night == by_day else by_night)


def _numbered(point: RoutePoint, revision: int) -> RoutePoint:
    if revision < 2013:
        return replace(point, point_id=None)
    return point if point.point_id is not None else replace(point, point_id=point.segment_id)


def _messages(areas: Sequence[tuple[int, Area]]) -> Iterator[Setting]:
    """Circles and rectangles of one action share a message; the others have one each."""
    for action in sorted({said for said, _ in areas}):
        those = [area for said, area in areas if said == action]
        circles = [area for area in those if isinstance(area, Circle)]
        rectangles = [area for area in those if isinstance(area, Rectangle)]
        for at in range(0, max(len(circles), len(rectangles)), AREAS_MAX):
            # what follows a message that replaces all is added to it
            said = APPEND if at and action == REPLACE_ALL else action
            if some := circles[at : at + AREAS_MAX]:
                yield CircleSetting(said, tuple(some))
            if more := rectangles[at : at + AREAS_MAX]:
                yield RectangleSetting(said, tuple(more))
    yield from (area for _, area in areas if isinstance(area, PolygonSetting | RouteSetting))
