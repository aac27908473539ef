"""JT/T 808: framing, declared messages, conversation, and the border to readings.

A platform::

    conversation = Conversation()
    for event in conversation.receive(data):
        match event:
            case Received(message=LocationReport() as report):
                ...  # readings_of(report, source=source_name(event.header.phone), ...)
                reply = conversation.answer(event)             # 0x8001, result 0
            case Received(message=Registration()):
                answer = RegistrationAnswer(event.header.serial, 0, "code")
                reply = conversation.send(answer, to=event.header)
            case UnknownMessage():
                reply = conversation.answer(event, UNSUPPORTED)
            case PartReceived():
                reply = conversation.answer(event)             # each packet; Received follows
            case BadBytes(reason=reason, raw=raw):
                ...  # quarantine

A terminal is the same class with its own number and edition::

    conversation = Conversation(phone="13912345678", revision=2013)
    data = conversation.send(Heartbeat())       # its serial was conversation.next_serial

Either may ask, and hears who answers; time is an argument::

    request, frames = conversation.ask(LocationQuery(), now_ms=now_ms)
    ...                                         # later: event.request == request
    due = conversation.poll(now_ms)             # to send again, expired, given up
    frames = conversation.resend(message)       # what a 0x8003, 0x0005 or 0x8800 asks for

The border (`jt808.border`) has `readings_of`, `location_report_of`, `source_name`, `resend_key`.
`event.header` has message_id, phone (digits as in the header), serial, is_2019, part.
"""

from greenhaul_protocols.jt808 import (
    messages_areas,
    messages_control,
    messages_information,
    messages_media,
    messages_records,
)
from greenhaul_protocols.jt808.conversation import (
    BAD_MESSAGE,
    FAILED,
    OK,
    UNSUPPORTED,
    Conversation,
)
from greenhaul_protocols.jt808.declaration import MESSAGES, REVISIONS
from greenhaul_protocols.jt808.events import (
    BadBytes,
    Due,
    Event,
    PartReceived,
    Received,
    UnknownMessage,
)
from greenhaul_protocols.jt808.header import (
    Header,
    PartNumber,
    is_downlink,
    unwrap,
    wants_answer,
    wrap,
)
from greenhaul_protocols.jt808.items import Item
from greenhaul_protocols.jt808.layouts import Undecodable
from greenhaul_protocols.jt808.messages import (
    Authentication,
    Heartbeat,
    LinkCheck,
    Logout,
    ParameterAnswer,
    ParameterQuery,
    ParameterSetting,
    PlatformAnswer,
    PlatformResendRequest,
    Registration,
    RegistrationAnswer,
    ServerTime,
    ServerTimeQuery,
    TerminalAnswer,
    TerminalResendRequest,
    TextMessage,
)
from greenhaul_protocols.jt808.messages_location import (
    AlarmConfirmation,
    BatchReport,
    LocationAnswer,
    LocationQuery,
    LocationReport,
    TrackingRequest,
)
from greenhaul_protocols.jt808.requests import Request

__all__ = [
    "BAD_MESSAGE",
    "FAILED",
    "MESSAGES",
    "OK",
    "REVISIONS",
    "UNSUPPORTED",
    "AlarmConfirmation",
    "Authentication",
    "BadBytes",
    "BatchReport",
    "Conversation",
    "Due",
    "Event",
    "Header",
    "Heartbeat",
    "Item",
    "LinkCheck",
    "LocationAnswer",
    "LocationQuery",
    "LocationReport",
    "Logout",
    "ParameterAnswer",
    "ParameterQuery",
    "ParameterSetting",
    "PartNumber",
    "PartReceived",
    "PlatformAnswer",
    "PlatformResendRequest",
    "Received",
    "Registration",
    "RegistrationAnswer",
    "Request",
    "ServerTime",
    "ServerTimeQuery",
    "TerminalAnswer",
    "TerminalResendRequest",
    "TextMessage",
    "TrackingRequest",
    "Undecodable",
    "UnknownMessage",
    "is_downlink",
    "messages_areas",
    "messages_control",
    "messages_information",
    "messages_media",
    "messages_records",
    "unwrap",
    "wants_answer",
    "wrap",
]
