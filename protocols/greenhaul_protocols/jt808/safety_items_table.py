"""Items of active safety (苏标 T/JSATL 12-2017, tables 17 to 23; 0x70 and what 2017 leaves to the
user from 粤标): driver assistance, driver state, tyres, blind spot, fierce driving.

Every alarm ends in where and when it was, and in a label of the terminal's id; the label of
terminals of 2019 has the longer id. Some vendors use the same item ids for OBD data: the length
decides.
"""

from dataclasses import dataclass
from typing import Annotated

from greenhaul_protocols.jt808.declaration import Record
from greenhaul_protocols.jt808.layouts import (
    BcdTime,
    BySize,
    Byte,
    Byte_,
    Counted,
    Degrees,
    Dword,
    FixedBytes,
    SignedWord,
    Word,
)
from greenhaul_protocols.jt808.notes import BitNames, Meanings
from greenhaul_protocols.jt808.tables import Entry
from greenhaul_protocols.jt808.texts import FixedText

ALARM_FLAGS = Meanings({0: "no duration", 1: "begins", 2: "ends"})

ADAS_TYPES = Meanings(
    {
        1: "forward collision",
        2: "lane departure",
        3: "too close",
        4: "pedestrian collision",
        5: "frequent lane changes",
        6: "road sign limit exceeded",
        7: "obstacle",
        8: "assistance failed",  # 粤标
        0x10: "road sign seen",
        0x11: "picture taken",
    }
)
DSM_TYPES = Meanings(
    {
        1: "fatigue",
        2: "phone",
        3: "smoking",
        4: "distraction",
        5: "abnormal",  # 粤标: no driver to be seen
        6: "hands off the wheel",  # 粤标
        7: "monitoring failed",  # 粤标
        0x10: "picture taken",
        0x11: "driver changed",
    }
)
BSD_TYPES = Meanings({1: "behind", 2: "left", 3: "right"})
FIERCE_TYPES = Meanings(
    {
        1: "acceleration",
        2: "braking",
        3: "turn",
        4: "idling",
        5: "engine stalled",
        6: "coasting in neutral",
        7: "engine overspeed",
    }
)
DEVIATIONS = Meanings({1: "left", 2: "right"})
ROAD_SIGNS = Meanings({1: "speed limit", 2: "height limit", 3: "weight limit"})

VEHICLE_STATUS_BITS = BitNames(
    {
        0: "acc_on",
        1: "left_turn",
        2: "right_turn",
        3: "wiper",
        4: "brake",
        5: "card_inserted",
        10: "located",
    }
)
TYRE_BITS = BitNames(
    {
        0: "pressure_report",
        1: "pressure_high",
        2: "pressure_low",
        3: "temperature_high",
        4: "sensor_fault",
        5: "pressure_uneven",
        6: "slow_leak",
        7: "battery_low",
    }
)


@dataclass(frozen=True, slots=True)
class AlarmLabel:
    """What ties an alarm to its attachments: 16 bytes."""

    terminal_id: Annotated[str, FixedText(7)]
    label_time: BcdTime
    number: Byte  # of alarms of the same second
    attachment_count: Byte
    reserved: Byte


@dataclass(frozen=True, slots=True)
class LongAlarmLabel(AlarmLabel):
    """The label with the terminal id of 2019: 39 bytes."""

    terminal_id: Annotated[str, FixedText(30)]


@dataclass(frozen=True, slots=True)
class LongestAlarmLabel(AlarmLabel):
    """And with two reserved bytes: 40 bytes."""

    terminal_id: Annotated[str, FixedText(30)]
    reserved: Word


_LABEL = BySize({16: Record(AlarmLabel), 39: Record(LongAlarmLabel), 40: Record(LongestAlarmLabel)})
_Label = Annotated[AlarmLabel, _LABEL]
_Flag = Annotated[Byte, ALARM_FLAGS]
_Status = Annotated[Word, VEHICLE_STATUS_BITS]


@dataclass(frozen=True, slots=True)
class AdasAlarm:
    """0x64: driver assistance."""

    alarm_id: Dword
    flag: _Flag
    alarm_type: Annotated[Byte, ADAS_TYPES]
    level: Byte
    front_speed_kmh: Byte
    front_distance_100ms: Byte  # in time, steps of 100 ms
    deviation: Annotated[Byte, DEVIATIONS]
    road_sign: Annotated[Byte, ROAD_SIGNS]
    road_sign_data: Byte
    speed_kmh: Byte
    altitude_m: SignedWord
    latitude_deg: Degrees
    longitude_deg: Degrees
    alarm_time: BcdTime
    vehicle_status: _Status
    label: _Label


@dataclass(frozen=True, slots=True)
class DriverAlarm:
    """0x65: state of the driver."""

    alarm_id: Dword
    flag: _Flag
    alarm_type: Annotated[Byte, DSM_TYPES]
    level: Byte
    fatigue: Byte  # 1 to 10
    reserved: Annotated[bytes, FixedBytes(4)]
    speed_kmh: Byte
    altitude_m: SignedWord
    latitude_deg: Degrees
    longitude_deg: Degrees
    alarm_time: BcdTime
    vehicle_status: _Status
    label: _Label


@dataclass(frozen=True, slots=True)
class TyreState:
    """One tyre of 0x66."""

    position: Byte  # from 0, left to right, front to rear
    events: Annotated[Word, TYRE_BITS]
    pressure_kpa: Word
    temperature_c: SignedWord
    battery_percent: Word


@dataclass(frozen=True, slots=True)
class PaddedTyreState:
    """One tyre as the printed offsets have it, which skip a byte."""

    position: Byte
    skipped: Byte
    events: Annotated[Word, TYRE_BITS]
    pressure_kpa: Word
    temperature_c: SignedWord
    battery_percent: Word


_TYRES = Counted(Byte_, Record(TyreState))
_PADDED_TYRES = Counted(Byte_, Record(PaddedTyreState))


@dataclass(frozen=True, slots=True)
class TyreAlarm:
    """0x66: tyre pressures. The list is printed at offset 39, really at 40."""

    alarm_id: Dword
    flag: _Flag
    speed_kmh: Byte
    altitude_m: SignedWord
    latitude_deg: Degrees
    longitude_deg: Degrees
    alarm_time: BcdTime
    vehicle_status: _Status
    label: Annotated[AlarmLabel, Record(AlarmLabel)]
    tyres: Annotated[tuple[TyreState, ...], _TYRES]


@dataclass(frozen=True, slots=True)
class PaddedTyreAlarm(TyreAlarm):
    """0x66 with padded tyres."""

    tyres: Annotated[tuple[PaddedTyreState, ...], _PADDED_TYRES]  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class LongTyreAlarm(TyreAlarm):
    """0x66 with the label of 2019."""

    label: Annotated[AlarmLabel, Record(LongAlarmLabel)]


@dataclass(frozen=True, slots=True)
class LongestTyreAlarm(TyreAlarm):
    """0x66 with the label of 2019 and its two reserved bytes."""

    label: Annotated[AlarmLabel, Record(LongestAlarmLabel)]


@dataclass(frozen=True, slots=True)
class LongPaddedTyreAlarm(PaddedTyreAlarm):
    """0x66 with the label of 2019 and padded tyres."""

    label: Annotated[AlarmLabel, Record(LongAlarmLabel)]


@dataclass(frozen=True, slots=True)
class LongestPaddedTyreAlarm(PaddedTyreAlarm):
    """0x66 with the label of 2019, its two reserved bytes, and padded tyres."""

    label: Annotated[AlarmLabel, Record(LongestAlarmLabel)]


@dataclass(frozen=True, slots=True)
class BlindSpotAlarm:
    """0x67: somebody in the blind spot."""

    alarm_id: Dword
    flag: _Flag
    alarm_type: Annotated[Byte, BSD_TYPES]
    speed_kmh: Byte
    altitude_m: SignedWord
    latitude_deg: Degrees
    longitude_deg: Degrees
    alarm_time: BcdTime
    vehicle_status: _Status
    label: _Label


@dataclass(frozen=True, slots=True)
class FierceDriving:
    """0x70: acceleration, braking, turns and the like."""

    alarm_id: Dword
    flag: _Flag
    alarm_type: Annotated[Byte, FIERCE_TYPES]
    time_limit_s: Word
    limit_1: Word  # types 1 to 3: in 1/100 g; 4 to 7: in km/h
    limit_2: Word  # types 4 to 7: in rpm
    speed_kmh: Byte
    altitude_m: SignedWord
    latitude_deg: Degrees
    longitude_deg: Degrees
    alarm_time: BcdTime
    vehicle_status: _Status
    label: _Label


# An entry without a size fits every length its record can have.
SAFETY_ITEMS = [
    Entry(0x64, "adas_alarm", Record(AdasAlarm)),
    Entry(0x65, "driver_alarm", Record(DriverAlarm)),
    *(
        Entry(0x66, "tyre_alarm", Record(cls))
        for cls in (
            TyreAlarm,
            PaddedTyreAlarm,
            LongTyreAlarm,
            LongestTyreAlarm,
            LongPaddedTyreAlarm,
            LongestPaddedTyreAlarm,
        )
    ),
    Entry(0x67, "blind_spot_alarm", Record(BlindSpotAlarm)),
    Entry(0x70, "fierce_driving", Record(FierceDriving)),
]
