"""Frames to answers: what `greenhaul-decode` says about each frame of an input.

An answer is a JSON object, or a table. A bad frame is an answer too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from greenhaul_protocols.catalogue import KIND_OF, Reading, TimeQuality
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.jt808 import describe
from greenhaul_protocols.jt808.border import readings_of, source_name
from greenhaul_protocols.jt808.conversation import Conversation
from greenhaul_protocols.jt808.declaration import MESSAGES
from greenhaul_protocols.jt808.events import (
    BadBytes,
    Event,
    PartReceived,
    Received,
    UnknownMessage,
)
from greenhaul_protocols.jt808.explain import Line, explain, explain_header
from greenhaul_protocols.jt808.framing import Frame, FrameReader, Malformed, content_of
from greenhaul_protocols.jt808.header import Header, split_header
from greenhaul_protocols.jt808.messages_records import CompressedReport
from greenhaul_protocols.times import TIME_MS_MAX, format_time

# Terminals whose split messages and editions are remembered; an archive may hold a whole city.
TERMINALS_MAX = 10_000

# A frame inside a line of a log: 7E … 7E, its bytes perhaps apart by a space, comma, colon or dash,
# or with the prefix of some language.
_FRAME_IN_LINE = re.compile(
    r"(?<![0-9A-Za-z])7e(?:(?:, ?|[ :-])?(?:0x|\\x)?[0-9a-f]{2})*?"
    r"(?:, ?|[ :-])?(?:0x|\\x)?7e(?![0-9A-Za-z])"
    r"|(?:0x|\\x)7e(?:(?:, ?| )?(?:0x|\\x)[0-9a-f]{2})*?(?:, ?| )?(?:0x|\\x)7e",
    re.IGNORECASE,
)
_NO_DIGIT = re.compile(r"0x|\\x|[^0-9a-f]", re.IGNORECASE)
_HEX_ONLY = re.compile(r"[0-9a-fA-F\s]+")

# Nothing here knows when a frame was received, so no time is too far ahead.
_RECEIVED_TIME_MS = TIME_MS_MAX - 86_400_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said about one frame."""

    json: dict[str, Any]
    event: Event

    @property
    def is_ok(self) -> bool:
        """Whether the frame could be decoded."""
        return bool(self.json["ok"])


class Decoder:
    """Answers for the frames of one input, in order; joins split messages across lines."""

    def __init__(self, *, revision: int | None = None) -> None:
        self._revision = revision
        self._conversations: dict[str, Conversation] = {}
        self._reader = FrameReader()
        self._last = 0  # number of the last line or frame

    def line(self, number: int, text: str) -> list[Answer]:
        """Answers for the frames in one line of text: bare hex, or hex somewhere in a log.

        Lines in which nothing looks like a frame have no answer.
        """
        stretches = _FRAME_IN_LINE.findall(text)
        if stretches:
            data = bytes.fromhex("".join(_NO_DIGIT.sub("", stretch) for stretch in stretches))
        elif _HEX_ONLY.fullmatch(text.strip()):
            digits = "".join(text.split())
            if len(digits) % 2:
                return [_bad(number, "hex: an odd number of digits", digits)]
            data = bytes.fromhex(digits)
        elif "7e" in text.lower() and not text.lstrip().startswith("#"):
            return [_bad(number, "hex: no frame from 7E to 7E in this line", text.strip())]
        else:
            return []
        reader = FrameReader()
        found = [*reader.feed(data), *reader.close()]
        return [answer for each in found for answer in self._answers(number, each)]

    def argument(self, number: int, text: str) -> list[Answer]:
        """Answers for hex given on purpose: never none."""
        return self.line(number, text) or [_bad(number, "hex: this is no frame", text)]

    def stream(self, chunks: Iterable[bytes]) -> Iterator[Answer]:
        """Answers for a binary stream; they are numbered by frame."""
        number = 0
        for chunk in chunks:
            for found in self._reader.feed(chunk):
                number += 1
                yield from self._answers(number, found)
        for rest in self._reader.close():
            yield from self._answers(number + 1, rest)

    def close(self) -> Iterator[Answer]:
        """Answers that only the end of the input settles: split messages with gaps in serials."""
        for conversation in self._conversations.values():
            for event in conversation.close():
                yield Answer(_answer_json(self._last, event, conversation.revision), event)

    def _answers(self, number: int, found: Frame | Malformed) -> Iterator[Answer]:
        self._last = number
        if isinstance(found, Malformed):
            yield _bad(number, found.reason, found.raw.hex(), BadBytes(*found))
            return
        try:
            phone = split_header(found.content)[0].phone
        except DecodeError as error:
            yield _bad(number, str(error), found.raw.hex(), BadBytes(str(error), found.raw))
            return
        conversation = self._conversation(phone)
        events: list[Event] = []
        conversation.take(found, events)
        for event in events:
            yield Answer(_answer_json(number, event, conversation.revision), event)

    def _conversation(self, phone: str) -> Conversation:
        conversation = self._conversations.get(phone)
        if conversation is None:
            if len(self._conversations) >= TERMINALS_MAX:
                del self._conversations[next(iter(self._conversations))]
            conversation = Conversation(revision=self._revision)
            self._conversations[phone] = conversation
        return conversation


def _bad(number: int, error: str, raw: str, event: BadBytes | None = None) -> Answer:
    answer = {"line": number, "ok": False, "error": error, "raw": raw}
    return Answer(answer, event or BadBytes(error, b""))


def _answer_json(number: int, event: Event, revision: int) -> dict[str, Any]:
    header = event.header
    if header is None:
        assert isinstance(event, BadBytes)
        return _bad(number, event.reason, event.raw.hex()).json
    declared = MESSAGES.get(header.message_id)
    joined = isinstance(event, Received | UnknownMessage) and event.is_joined
    answer: dict[str, Any] = {
        "line": number,
        "ok": not isinstance(event, BadBytes),
        "protocol": "jt808",
        "revision": event.revision if isinstance(event, Received) else revision,
        "message_id": f"0x{header.message_id:04X}",
        "message": declared.message_class.__name__ if declared else None,
        "terminal": header.phone,
        "serial": header.serial,
        "part": header.part._asdict() if header.part and not joined else None,
        "joined": joined,
        "encryption": header.encryption,
    }
    match event:
        case BadBytes():
            return answer | {"error": event.reason, "raw": event.raw.hex()}
        case PartReceived() | UnknownMessage():
            return answer | {"body": {"raw": event.body.hex()}, "reading": None}
        case Received():
            answer["body"] = describe.body_json(event.message, event.revision)
            if isinstance(event.message, CompressedReport):
                plain = event.message.decompressed()
                answer["body"]["decompressed"] = None if plain is None else plain.hex()
            if event.rest:
                answer["rest"] = event.rest.hex()
    readings = readings_of(
        event.message, source=source_name(header.phone), received_time_ms=_RECEIVED_TIME_MS
    )
    described = [_reading_json(reading) for reading in readings]
    answer["reading"] = described[0] if described else None
    if len(described) > 1:
        answer["readings"] = described
    return answer


def _reading_json(reading: Reading) -> dict[str, Any]:
    """Kind, time and the fields that have a value; the time is null where it is unusable."""
    spec = KIND_OF[type(reading)]
    # A time of day without a date has that of the receipt, which nobody knows here.
    is_dated = reading.device_time_ms < _RECEIVED_TIME_MS - 86_400_000
    is_usable = is_dated and reading.time_quality is not TimeQuality.UNUSABLE
    described: dict[str, Any] = {
        "kind": spec.name,
        "device_time": format_time(reading.device_time_ms) if is_usable else None,
    }
    for field in spec.fields:
        value = getattr(reading, field.name)
        if value is not None:
            described[field.name] = value.hex() if isinstance(value, bytes) else value
    return described


def explanation(answer: Answer) -> str:
    """The answer as a table: offset in the body, bytes, field, value, unit, meaning."""
    json = answer.json
    if "message_id" not in json:
        return f"line {json['line']}: {json['error']}\n  {json['raw']}"
    title = (
        f"line {json['line']}: {json['message_id']} {json['message'] or 'unknown message'}, "
        f"terminal {json['terminal']}, serial {json['serial']}, edition {json['revision']}"
    )
    if json["part"]:
        title += ", packet {number} of {total}".format(**json["part"])
    rows: list[tuple[str, ...]] = []
    for section, lines in _sections(answer.event, json["revision"]):
        rows.append((section, "", "", "", "", ""))
        rows += [(str(ln.offset), ln.wire.hex(), *ln[2:]) for ln in lines]
    return "\n".join([title, *_aligned(rows)])


def _sections(event: Event, revision: int) -> Iterator[tuple[str, list[Line]]]:
    """Header and body; of a body that is not allowed, what comes before the mistake."""
    header = event.header
    assert header is not None
    # A joined message has a header in each packet; they stand with the packets.
    is_joined = isinstance(event, Received | UnknownMessage) and event.is_joined
    content = b"" if is_joined else _content_of(event.raw)
    lines = list(explain_header(content, header)) if content else []
    if lines:
        yield "header", lines
    match event:
        case Received():
            yield "body", list(explain(type(event.message), event.body, event.revision))
        case PartReceived() | UnknownMessage():
            yield "body", [Line(0, event.body, "(not declared)", "", "", "")]
        case BadBytes():
            body = content[sum(len(line.wire) for line in lines) :]
            yield f"body: {event.reason}", _before_the_mistake(header, body, revision)


def _content_of(raw: bytes) -> bytes:
    """Header and body of one frame; nothing of what is no frame by the rules."""
    try:
        return content_of(raw[1:-1])
    except DecodeError:
        return b""


def _before_the_mistake(header: Header, body: bytes, revision: int) -> list[Line]:
    found: list[Line] = []
    spec = MESSAGES.get(header.message_id)
    try:
        if spec and not header.part and not header.encryption:
            found.extend(explain(spec.classes_of(revision)[0], body, revision))
    except DecodeError:
        pass
    at = sum(len(line.wire) for line in found)
    return [*found, Line(at, body[at:], "(not read)", "", "", "")] if at < len(body) else found


# Bytes shown of a field; the JSON has them all.
_WIRE_SHOWN_MAX = 32


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    short = [
        tuple(
            cell if len(cell) <= _WIRE_SHOWN_MAX or column not in (1, 3) else _cut(cell)
            for column, cell in enumerate(row)
        )
        for row in [("offset", "bytes", "field", "value", "unit", "meaning"), *rows]
    ]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in short
    ]


def _cut(cell: str) -> str:
    return cell[: _WIRE_SHOWN_MAX - 1] + "…"
