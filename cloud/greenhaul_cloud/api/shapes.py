"""How values look in JSON: instants, ids, texts, pages, readings."""

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Path, Query
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    create_model,
)
from sqlalchemy import RowMapping

from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.store.pages import Key, Page, PageSpec
from greenhaul_protocols.catalogue import KINDS, FieldSpec, Flags, KindSpec, TimeQuality
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN, format_time, parse_time

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
# A cursor is a key of two or three values; longer ones are not ours.
CURSOR_LENGTH_MAX = 400
ROW_ID_MAX = 2**63 - 1


def _parse_instant(value: object) -> int:
    if not isinstance(value, str):
        # pydantic answers a ValueError with 422, a TypeError with a crash
        raise ValueError("an instant is RFC 3339 text, as in 2026-11-20T07:04:05Z")  # noqa: TRY004
    try:
        time_ms = parse_time(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not RFC 3339 with a zone, as in 2026-11-20T07:04:05Z: {error}") from None
    if not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
        raise ValueError("the year is not between 1 and 9999")
    return time_ms


_INSTANT_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time"})
# Milliseconds inside, RFC 3339 outside: what we say, and what we are told.
Instant = Annotated[int, PlainSerializer(format_time, return_type=str), _INSTANT_SCHEMA]
InstantIn = Annotated[int, BeforeValidator(_parse_instant), _INSTANT_SCHEMA]

# No control characters: they break logs and terminals, and PostgreSQL keeps no NUL.
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=_PRINTABLE)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_PRINTABLE)]
Id = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f/?#%\\]{1,64}$")]
Note = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
RowId = Annotated[int, Path(ge=1, le=ROW_ID_MAX)]
TextQuery = Annotated[str | None, Query(max_length=200, pattern=_PRINTABLE)]
FromQuery = Annotated[InstantIn | None, Query(alias="from", description="RFC 3339")]
ToQuery = Annotated[InstantIn | None, Query(alias="to", description="RFC 3339")]


class Shape(BaseModel):
    """What we answer."""

    model_config = ConfigDict(from_attributes=True)


class Wish(BaseModel):
    """What we are asked; unknown keys are refused, so a slip of the pen is seen."""

    model_config = ConfigDict(extra="forbid")


Item = TypeVar("Item")


class Listing(Shape, Generic[Item]):
    """A page of a list; `next` goes into `?cursor=` for the page after, null at the end."""

    items: list[Item]
    next: str | None


def listing_of(page: Page, item_of: Callable[[RowMapping], Any]) -> dict[str, Any]:
    """A page as `Listing` wants it."""
    key = page.next_key
    return {
        "items": [item_of(row) for row in page.rows],
        "next": None if key is None else _write_cursor(key),
    }


def _write_cursor(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode()


def _read_cursor(text: str, types: tuple[type, ...]) -> Key:
    try:
        key = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
    except (ValueError, binascii.Error, RecursionError):
        key = None
    if (
        not isinstance(key, list)
        or tuple(type(part) for part in key) != types
        or any(isinstance(part, int) and not -ROW_ID_MAX <= part <= ROW_ID_MAX for part in key)
        or any(isinstance(part, str) and "\0" in part for part in key)
    ):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "cursor: not one of this list")
    return tuple(key)


def paging(*types: type) -> Callable[[int, str | None], PageSpec]:
    """A dependency that reads ?limit= and ?cursor= of a list whose key has these types."""

    def page_spec(
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
        cursor: Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)] = None,
    ) -> PageSpec:
        return PageSpec(limit, None if cursor is None else _read_cursor(cursor, types))

    return page_spec


PageByNumber = Annotated[PageSpec, Depends(paging(int))]
PageByText = Annotated[PageSpec, Depends(paging(str))]
PageByTime = Annotated[PageSpec, Depends(paging(int, int))]
PageByReading = Annotated[PageSpec, Depends(paging(int, int, int))]
PageByIdentity = Annotated[PageSpec, Depends(paging(int, int, int, int))]

# -- readings ------------------------------------------------------------------------------------

_PYTHON_TYPES: dict[str, type] = {"flag": bool, "text": str, "json": str, "blob": str}


def _reading_field(spec: FieldSpec) -> Any:
    python_type = _PYTHON_TYPES.get(spec.value_type, float if spec.per_unit > 1 else int)
    parts = [f"Unit: {spec.unit}." if spec.unit else "", f"VSS: {spec.vss}." if spec.vss else ""]
    if spec.value_type == "blob":
        parts.append("Bytes in lower-case hex.")
    return (python_type | None, Field(None, description=" ".join(filter(None, parts)) or None))


class ReadingShape(Shape):
    """What every reading has; its own fields follow. A null: the source did not say."""

    source: str
    device_time: Instant
    received_time: Instant
    stored_time: Instant
    time_quality: str = Field(description=", ".join(q.name.lower() for q in TimeQuality))
    is_backlog: bool = Field(description="Kept by the terminal while it had no network.")


def _reading_shape(kind: KindSpec) -> type[ReadingShape]:
    fields: dict[str, Any] = {spec.name: _reading_field(spec) for spec in kind.fields}
    title = kind.reading_class.__name__.removesuffix("Reading") + "Reading"
    return create_model(title, __base__=ReadingShape, __doc__=kind.reading_class.__doc__, **fields)


READING_SHAPES: dict[int, type[ReadingShape]] = {
    number: _reading_shape(kind) for number, kind in KINDS.items()
}


def reading_values(row: RowMapping, specs: Iterable[FieldSpec]) -> dict[str, Any]:
    """A row of a reading table, with `source`, as its shape wants it."""
    values = {
        "source": row["source"],
        "device_time": row["device_time"],
        "received_time": row["received_time"],
        "stored_time": row["stored_time"],
        "time_quality": TimeQuality(row["time_quality"]).name.lower(),
        "is_backlog": bool(row["flags"] & Flags.BACKLOG),
    }
    for spec in specs:
        value = row[spec.name]
        values[spec.name] = value.hex() if isinstance(value, bytes) else value
    return values
