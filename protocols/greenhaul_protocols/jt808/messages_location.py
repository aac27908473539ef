"""The location family: reports, batches, queries."""

from dataclasses import dataclass
from typing import Annotated

from greenhaul_protocols.jt808.bits_table import ALARM_BITS, STATUS_BITS
from greenhaul_protocols.jt808.declaration import Record, message
from greenhaul_protocols.jt808.items import Item, Items
from greenhaul_protocols.jt808.layouts import (
    BcdTime,
    Byte,
    Bytes,
    ByVersion,
    Counted,
    Degrees,
    Dword,
    Dword_,
    Scaled,
    Sized,
    Undecodable,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.notes import CountOf, Meanings, differs


@dataclass(frozen=True, slots=True)
class Location:
    """The 28 bytes every location begins with (位置基本信息). Coordinates are unsigned; status bits
    2 and 3 say south and west."""

    alarms: Annotated[Dword, ALARM_BITS]
    status: Annotated[Dword, STATUS_BITS]
    latitude_deg: Degrees
    longitude_deg: Degrees
    altitude_m: Word
    speed_kmh: Annotated[float, Scaled("H", per_unit=10)]
    heading_deg: Word  # clockwise from north
    device_time: BcdTime  # printed at offset 21, really at 22


@message(0x0200, clause="8.18")
@dataclass(frozen=True, slots=True)
class LocationReport(Location):
    """Where the terminal is (位置信息汇报), and what it says beside."""

    items: Annotated[tuple[Item, ...], Items("B", "location")] = ()
    # Bytes behind the last whole item: one whose length runs past the end.
    cut: Annotated[bytes, Bytes()] = b""


BATCH_TYPES = Meanings({0: "normal", 1: "blind area"})


@message(0x0704, clause="8.49", since=2013)
@dataclass(frozen=True, slots=True)
class BatchReport:
    """Location reports kept while there was no network, or sent in bulk (定位数据批量上传)."""

    report_count: Annotated[Word, CountOf("reports")]
    batch_type: Annotated[Byte, BATCH_TYPES]  # printed at offset 1, really at 2
    reports: Annotated[
        tuple[LocationReport | Undecodable, ...],
        Counted(None, Sized(Word_, Record(LocationReport)), keeps_good=True),
    ]

    @classmethod
    def of(cls, reports: tuple[LocationReport, ...], batch_type: int) -> "BatchReport":
        """A batch of these reports."""
        return cls(len(reports), batch_type, reports)


@message(0x8201, clause="8.19")
@dataclass(frozen=True, slots=True)
class LocationQuery:
    """Asks where the terminal is (位置信息查询)."""


@message(0x0201, clause="8.20")
@dataclass(frozen=True, slots=True)
class LocationAnswer:
    """Where the terminal is, asked for (位置信息查询应答). Terminals often echo serial 0."""

    answer_serial: Annotated[int | None, ByVersion({2013: Word_})]
    report: Annotated[LocationReport, Record(LocationReport)]


@message(0x8202, clause="8.21")
@dataclass(frozen=True, slots=True)
class TrackingRequest:
    """Asks for reports at an interval for a while (临时位置跟踪控制)."""

    interval_s: Word  # 0 stops
    valid_s: Annotated[int | None, Dword_, differs("interval_s", 0)] = None


@message(0x8203, clause="8.22", since=2013)
@dataclass(frozen=True, slots=True)
class AlarmConfirmation:
    """A person has seen the alarm (人工确认报警消息)."""

    alarm_serial: Word  # 0: all alarms of the kinds
    alarms: Annotated[Dword, ALARM_BITS]
