"""Messages of session and parameters, as declared in JT/T 808-2011, -2013 and -2019.

Clauses are those of the 2013 edition where none is named. Where the printed offsets are wrong the
order of the fields here is the real one.
"""

from dataclasses import dataclass
from typing import Annotated

from greenhaul_protocols.jt808.declaration import REVISIONS, message, variant
from greenhaul_protocols.jt808.items import Item, Items
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    Byte,
    Byte_,
    ByVersion,
    Counted,
    Dword_,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.notes import BitNames, HexId, Meanings, equals
from greenhaul_protocols.jt808.texts import FixedText, Text

ANSWER_RESULTS = Meanings(
    {0: "ok", 1: "failed", 2: "bad message", 3: "unsupported", 4: "alarm confirmed"}
)

REGISTRATION_RESULTS = Meanings(
    {
        0: "ok",
        1: "vehicle already registered",
        2: "vehicle not in database",
        3: "terminal already registered",
        4: "terminal not in database",
    }
)

# JT/T 415-2006 clause 5.4.12, since 2019 JT/T 697.7-2014; 0 means no plate.
PLATE_COLOURS = Meanings(
    {
        0: "no plate",
        1: "blue",
        2: "yellow",
        3: "black",
        4: "white",
        5: "green",
        9: "other",
        91: "farm yellow",
        92: "farm green",
        93: "yellow-green",
        94: "gradient green",
    }
)


@message(0x0001, clause="8.1")
@dataclass(frozen=True, slots=True)
class TerminalAnswer:
    """General answer of the terminal (终端通用应答)."""

    answer_serial: Word  # of the message answered
    answer_id: Annotated[Word, HexId()]
    result: Annotated[Byte, ANSWER_RESULTS]


@message(0x8001, clause="8.2")
@dataclass(frozen=True, slots=True)
class PlatformAnswer:
    """General answer of the platform (平台通用应答)."""

    answer_serial: Word
    answer_id: Annotated[Word, HexId()]
    result: Annotated[Byte, ANSWER_RESULTS]


@message(0x0002, clause="8.3")
@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Heartbeat (终端心跳). Some terminals send bytes in it, which mean nothing."""


@message(0x0003, clause="8.7")
@dataclass(frozen=True, slots=True)
class Logout:
    """The terminal gives its registration up (终端注销)."""


@message(0x0004, clause="8.4 (2019)", since=2019)
@dataclass(frozen=True, slots=True)
class ServerTimeQuery:
    """The terminal asks what time it is (查询服务器时间请求)."""


@message(0x8004, clause="8.5 (2019)", since=2019)
@dataclass(frozen=True, slots=True)
class ServerTime:
    """The time (查询服务器时间应答): in UTC, alone among all times of the standard."""

    server_time: Annotated[str, Bcd(6)]  # YYMMDDhhmmss


@message(0x8003, clause="8.4", since=2013)
@dataclass(frozen=True, slots=True)
class PlatformResendRequest:
    """Packets of a split message the platform misses (服务器补传分包请求)."""

    first_serial: Word  # of the message's first packet
    numbers: Annotated[
        tuple[int, ...],
        ByVersion({2011: Counted(Byte_, Word_), 2019: Counted(Word_, Word_)}),
    ]


@message(0x0005, clause="8.7 (2019)", since=2019)
@dataclass(frozen=True, slots=True)
class TerminalResendRequest:
    """Packets of a split message the terminal misses (终端补传分包请求)."""

    first_serial: Word
    numbers: Annotated[
        tuple[int, ...],
        ByVersion({2011: Counted(Byte_, Word_), 2019: Counted(Word_, Word_)}),
    ]


# What stands before the plate. Bodies of 2011 are shorter with any plate there is: 25 bytes, ten of
# a plate at most, NUL.
REGISTRATION_2013_SIZE_MIN = 37


@message(0x0100, clause="8.5")
@dataclass(frozen=True, slots=True)
class Registration:
    """The terminal registers (终端注册)."""

    province_id: Word  # GB/T 2260, first two digits
    city_id: Word  # GB/T 2260, last four digits
    maker_id: Annotated[str, ByVersion({2011: FixedText(5), 2019: FixedText(11)})]
    model: Annotated[
        str,
        ByVersion(
            {
                2011: FixedText(8, pad=b" "),
                2013: FixedText(20),
                2019: FixedText(30, pad_in_front=True),
            }
        ),
    ]
    terminal_id: Annotated[
        str, ByVersion({2011: FixedText(7), 2019: FixedText(30, pad_in_front=True)})
    ]
    plate_colour: Annotated[Byte, PLATE_COLOURS]
    # The VIN where plate_colour is 0.
    plate: Annotated[str, ByVersion({2011: Text(is_terminated=True), 2013: Text()})]

    def is_plausible(self, revision: int, body_size: int) -> bool:
        """Whether it is no body of a later edition, whose longer model and id read as a plate."""
        return revision != 2011 or body_size < REGISTRATION_2013_SIZE_MIN


@message(0x8100, clause="8.6")
@dataclass(frozen=True, slots=True)
class RegistrationAnswer:
    """Whether the terminal is registered, and the code to authenticate with (终端注册应答)."""

    answer_serial: Word
    result: Annotated[Byte, REGISTRATION_RESULTS]
    auth_code: Annotated[
        str | None,
        ByVersion({2011: Text(is_terminated=True), 2013: Text()}),
        equals("result", 0),
    ] = None


@message(0x0102, clause="8.8")
@dataclass(frozen=True, slots=True)
class Authentication:
    """The terminal shows its code (终端鉴权)."""

    auth_code: Annotated[
        str, ByVersion({2011: Text(is_terminated=True), 2013: Text(), 2019: Text(Byte_)})
    ]
    imei: Annotated[str | None, ByVersion({2019: FixedText(15)})] = None
    software_version: Annotated[str | None, ByVersion({2019: FixedText(20)})] = None


_PARAMETERS = ByVersion(
    {
        2011: Items("I", "parameters", Byte_, packet_count=Byte_),
        2013: Items("I", "parameters", Byte_),
    }
)


@message(0x8103, clause="8.9")
@dataclass(frozen=True, slots=True)
class ParameterSetting:
    """Parameters for the terminal to take over (设置终端参数). An id may stand more than once."""

    parameters: Annotated[tuple[Item, ...], _PARAMETERS]


@message(0x8104, clause="8.10")
@dataclass(frozen=True, slots=True)
class ParameterQuery:
    """Asks for all parameters (查询终端参数)."""


@message(0x8106, clause="8.11", since=2013)
@dataclass(frozen=True, slots=True)
class SomeParametersQuery:
    """Asks for the parameters named (查询指定终端参数)."""

    parameter_ids: Annotated[tuple[int, ...], Counted(Byte_, Dword_), HexId()]


@message(0x0104, clause="8.12")
@dataclass(frozen=True, slots=True)
class ParameterAnswer:
    """The parameters asked for (查询终端参数应答)."""

    answer_serial: Word
    parameters: Annotated[tuple[Item, ...], _PARAMETERS]

    def is_plausible(self, _revision: int, _body_size: int) -> bool:
        """Whether it is no list of shorter ids that fits by chance: ids of four bytes are small."""
        return all(item.id <= 0xFFFF for item in self.parameters)


@variant(0x0104, revisions=REVISIONS, replaces=False)
@dataclass(frozen=True, slots=True)
class ParameterAnswerShortIds:
    """As the terminals of one module maker send it: ids of two bytes."""

    answer_serial: Word
    parameters: Annotated[tuple[Item, ...], Items("H", "parameters", Byte_)]


@message(0x8204, clause="8.26 (2019)", since=2019)
@dataclass(frozen=True, slots=True)
class LinkCheck:
    """The platform asks whether the link is alive (链路检测)."""


TEXT_BITS = BitNames(
    {
        0: {2011: "urgent", 2019: "service"},  # since 2019 with bit 1 one number: 3 is a notice
        1: {2019: "urgent"},
        2: "display",
        3: "tts",
        4: {2011: "advertising_screen", 2019: ""},
        5: {2013: "can_fault_codes"},  # else navigation
    }
)


@message(0x8300, clause="8.23")
@dataclass(frozen=True, slots=True)
class TextMessage:
    """Text for the driver (文本信息下发)."""

    flags: Annotated[Byte, TEXT_BITS]
    text_type: Annotated[
        int | None, ByVersion({2019: Byte_}), Meanings({1: "notice", 2: "service"})
    ] = None
    text: Annotated[
        str, ByVersion({2011: Text(size_max=1024, is_terminated=True), 2013: Text(size_max=1024)})
    ] = ""
