"""Events, questions, information on demand, telephone. 2019 keeps most only in its appendix."""

from dataclasses import dataclass
from typing import Annotated

from greenhaul_protocols.jt808.declaration import REVISIONS, Record, counted_list, message, variant
from greenhaul_protocols.jt808.layouts import (
    Byte,
    Byte_,
    ByVersion,
    Counted,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.notes import BitNames, Meanings, differs
from greenhaul_protocols.jt808.texts import Text

_DELETE_ALL = 0

SETTING_TYPES = Meanings(
    {0: "delete all", 1: "replace all", 2: "append", 3: "modify", 4: "delete listed"}
)

QUESTION_BITS = BitNames({0: "urgent", 3: "tts", 4: "advertising_screen"})


@dataclass(frozen=True, slots=True)
class EventChoice:
    """An event the driver may report."""

    event_id: Byte
    text: Annotated[str, Text(Byte_)]


@message(0x8301, clause="8.24")
@dataclass(frozen=True, slots=True)
class EventSetting:
    """Events the driver may report (事件设置)."""

    setting_type: Annotated[Byte, SETTING_TYPES]
    events: Annotated[
        tuple[EventChoice, ...] | None,
        counted_list(EventChoice),
        differs("setting_type", _DELETE_ALL),
    ] = None


@variant(0x8301, revisions=REVISIONS, replaces=False)
@dataclass(frozen=True, slots=True)
class EventDeletion:
    """Events to forget: setting type 4, whose items are without text and without its length."""

    setting_type: Annotated[Byte, SETTING_TYPES]
    event_ids: Annotated[
        tuple[int, ...],
        ByVersion({2011: Counted(Byte_, Byte_, packet_count=Byte_), 2013: Counted(Byte_, Byte_)}),
    ]


@message(0x0301, clause="8.25")
@dataclass(frozen=True, slots=True)
class EventReport:
    """The driver reports an event (事件报告)."""

    event_id: Byte


@dataclass(frozen=True, slots=True)
class AnswerChoice:
    """An answer the driver may give."""

    answer_id: Byte
    text: Annotated[str, Text(Word_)]


@message(0x8302, clause="8.26")
@dataclass(frozen=True, slots=True)
class Question:
    """A question to the driver (提问下发)."""

    flags: Annotated[Byte, QUESTION_BITS]
    question: Annotated[str, Text(Byte_)]
    answers: Annotated[tuple[AnswerChoice, ...], Counted(None, Record(AnswerChoice))] = ()


@message(0x0302, clause="8.27")
@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """What the driver answers (提问应答)."""

    answer_serial: Word
    answer_id: Byte


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """Information the driver may order."""

    information_type: Byte
    name: Annotated[str, Text(Word_)]


@message(0x8303, clause="8.28")
@dataclass(frozen=True, slots=True)
class InformationMenu:
    """What information there is (信息点播菜单设置)."""

    setting_type: Annotated[Byte, SETTING_TYPES]
    entries: Annotated[
        tuple[MenuEntry, ...] | None, counted_list(MenuEntry), differs("setting_type", _DELETE_ALL)
    ] = None


@message(0x0303, clause="8.29")
@dataclass(frozen=True, slots=True)
class InformationDemand:
    """The driver orders information, or cancels it (信息点播/取消)."""

    information_type: Byte
    demand: Annotated[Byte, Meanings({0: "cancel", 1: "order"})]


@message(0x8304, clause="8.30")
@dataclass(frozen=True, slots=True)
class Information:
    """Information ordered (信息服务)."""

    information_type: Byte
    total_size: Annotated[int | None, ByVersion({2011: Word_, 2013: None})]
    text: Annotated[str, Text(Word_)]


@message(0x8400, clause="8.31")
@dataclass(frozen=True, slots=True)
class CallBack:
    """The terminal shall call a number (电话回拨)."""

    call_type: Annotated[Byte, Meanings({0: "call", 1: "listen in"})]
    number: Annotated[
        str, ByVersion({2011: Text(size_max=20, is_terminated=True), 2013: Text(size_max=20)})
    ]


@dataclass(frozen=True, slots=True)
class Contact:
    """A telephone number and whose it is."""

    call_direction: Annotated[Byte, Meanings({1: "incoming", 2: "outgoing", 3: "both"})]
    number: Annotated[str, Text(Byte_)]
    name: Annotated[str, Text(Byte_)]


@message(0x8401, clause="8.32")
@dataclass(frozen=True, slots=True)
class PhoneBook:
    """Whom the driver may call (设置电话本)."""

    setting_type: Annotated[Byte, SETTING_TYPES]
    contacts: Annotated[
        tuple[Contact, ...] | None, counted_list(Contact), differs("setting_type", _DELETE_ALL)
    ] = None
