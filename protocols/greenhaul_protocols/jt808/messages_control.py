"""Control of the terminal and the vehicle, attributes, upgrades."""

from dataclasses import dataclass
from typing import Annotated

from greenhaul_protocols.jt808.declaration import Record, message, variant
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    Byte,
    Byte_,
    Bytes,
    ByVersion,
    Counted,
    Dword_,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.messages_location import LocationReport
from greenhaul_protocols.jt808.notes import BitNames, Meanings, differs, equals
from greenhaul_protocols.jt808.texts import FixedText, Text

CONTROL_COMMANDS = Meanings(
    {
        1: "upgrade over the air",
        2: "connect to a given server",
        3: "power off",
        4: "reset",
        5: "factory reset",
        6: "close the data link",
        7: "close all radio",
        # Vendors, depending on the model.
        0x64: "stop the engine",
        0x65: "resume the engine",
        0xF0: "stop the engine",
        0xF1: "resume the engine",
    }
)

TERMINAL_TYPE_BITS = BitNames(
    {
        0: "passenger",
        1: "dangerous_goods",
        2: "freight",
        3: "taxi",
        6: "disk_video",
        7: "split_unit",
        8: {2019: "trailer"},
    }
)

GNSS_BITS = BitNames({0: "gps", 1: "beidou", 2: "glonass", 3: "galileo"})

RADIO_BITS = BitNames(
    {0: "gprs", 1: "cdma", 2: "td_scdma", 3: "wcdma", 4: "cdma2000", 5: "td_lte", 7: "other"}
)

UPGRADE_TYPES = Meanings(
    {
        0: "terminal",
        12: "IC card reader",
        52: "GNSS module",
        # T/JSATL 12-2017
        0x64: "ADAS",
        0x65: "driver monitoring",
        0x66: "tyre pressure",
        0x67: "blind spot",
    }
)

UPGRADE_RESULTS = Meanings(
    {
        0: "ok",
        1: "failed",
        2: "cancelled",
        # T/JSATL 12-2017
        10: "no such unit",
        11: "wrong hardware",
        12: "same version",
        13: "version unsupported",
    }
)


@message(0x8105, clause="8.13")
@dataclass(frozen=True, slots=True)
class TerminalControl:
    """Upgrade, connect elsewhere, reset (终端控制). 2019 keeps only 2, 4 and 5."""

    command: Annotated[Byte, CONTROL_COMMANDS]
    # Of commands 1 and 2, joined by `;`. Some platforms put numbers in as bytes.
    arguments: Annotated[str, ByVersion({2011: Text(is_terminated=True), 2013: Text()})] = ""


@message(0x8107, clause="8.14", since=2013)
@dataclass(frozen=True, slots=True)
class AttributesQuery:
    """Asks what the terminal is (查询终端属性)."""


@message(0x0107, clause="8.15", since=2013)
@dataclass(frozen=True, slots=True)
class TerminalAttributes:
    """What the terminal is (查询终端属性应答). The serial of the query is not echoed."""

    terminal_type: Annotated[Word, TERMINAL_TYPE_BITS]
    maker_id: Annotated[str, FixedText(5)]
    model: Annotated[str, ByVersion({2013: FixedText(20), 2019: FixedText(30)})]
    terminal_id: Annotated[str, ByVersion({2013: FixedText(7), 2019: FixedText(30)})]
    iccid: Annotated[str, Bcd(10)]  # printed at 42 in 2013, really at 34; may have hex letters
    hardware_version: Annotated[str, Text(Byte_)]
    firmware_version: Annotated[str, Text(Byte_)]
    gnss_systems: Annotated[Byte, GNSS_BITS]
    radio_systems: Annotated[Byte, RADIO_BITS]


@variant(0x0107, revisions=(2019,), replaces=False)
@dataclass(frozen=True, slots=True)
class TerminalAttributesLongMaker(TerminalAttributes):
    """As many terminals of 2019 send it: with the eleven bytes of maker that 0x0100 has."""

    maker_id: Annotated[str, FixedText(11)]


@message(0x8108, clause="8.16", since=2013)
@dataclass(frozen=True, slots=True)
class UpgradePackage:
    """Software for the terminal or a unit of it (下发终端升级包). Usually split."""

    upgrade_type: Annotated[Byte, UPGRADE_TYPES]
    maker_id: Annotated[str, FixedText(5)]
    version: Annotated[str, Text(Byte_)]
    data: Annotated[bytes, Bytes(Dword_)]


@message(0x0108, clause="8.17", since=2013)
@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """How the upgrade went (终端升级结果通知)."""

    upgrade_type: Annotated[Byte, UPGRADE_TYPES]
    result: Annotated[Byte, UPGRADE_RESULTS]


DOOR = 0x0001


@dataclass(frozen=True, slots=True)
class VehicleCommand:
    """One command of 0x8500 in 2019. Only the doors are defined; what vendors send has no length
    of its own and runs to the end."""

    control_id: Word
    door: Annotated[int | None, Byte_, equals("control_id", DOOR), Meanings({0: "lock", 1: "open"})]
    argument: Annotated[bytes | None, Bytes(), differs("control_id", DOOR)] = None


@message(0x8500, clause="8.33")
@dataclass(frozen=True, slots=True)
class VehicleControl:
    """Doors and what vendors add (车辆控制). Bit 0 of the flags locks, until 2013; since then 1
    opens: the two editions say the opposite."""

    flags: Annotated[int | None, ByVersion({2011: Byte_, 2019: None}), BitNames({0: "lock"})] = None
    commands: Annotated[
        tuple[VehicleCommand, ...] | None,
        # Printed at offset 1, really at 2.
        ByVersion({2019: Counted(Word_, Record(VehicleCommand))}),
    ] = None


@message(0x0500, clause="8.34")
@dataclass(frozen=True, slots=True)
class VehicleControlAnswer:
    """State of the vehicle after the command (车辆控制应答)."""

    answer_serial: Word
    report: Annotated[LocationReport, Record(LocationReport)]
