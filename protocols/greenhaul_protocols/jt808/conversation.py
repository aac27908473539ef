"""One JT/T 808 connection without the connection: bytes in, events out; messages in, bytes out.

No sockets, no clock, no role: a platform and a terminal drive the same class.
"""

from typing import Any

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808.declaration import (
    MESSAGE_IDS,
    MESSAGES,
    REVISIONS,
    decode,
    encode,
    revisions_of,
)
from greenhaul_protocols.jt808.events import (
    BadBytes,
    Event,
    PartReceived,
    Received,
    UnknownMessage,
)
from greenhaul_protocols.jt808.framing import Frame, FrameReader, Malformed
from greenhaul_protocols.jt808.header import (
    BODY_SIZE_MAX,
    SERIAL_COUNT,
    Header,
    PartNumber,
    split_header,
    wrap,
)
from greenhaul_protocols.jt808.messages import PlatformAnswer, Registration, TerminalAnswer
from greenhaul_protocols.jt808.parts import Part, PartStore

# Results of a general answer.
OK, FAILED, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3

# Answers, which want no answer themselves.
_ANSWERS = frozenset({0x0001, 0x8001, 0x8004, 0x8100, 0x8800})


class Conversation:
    """Both directions of one connection.

    phone: the terminal's number, for a terminal; a platform learns it. revision: 2011, 2013 or
    2019, to write in and to read what a frame alone does not settle; None learns it from the peer
    and means 2013 until then.
    """

    def __init__(self, *, phone: str | None = None, revision: int | None = None) -> None:
        if revision is not None and revision not in REVISIONS:
            raise ValueError(f"revision {revision}: there are {', '.join(map(str, REVISIONS))}")
        self.phone = phone
        self.next_serial = 0  # of the next message sent
        self._settled_revision = revision
        self._revision = revision or 2013
        self._header_is_2019 = self._revision >= 2019
        self._reader = FrameReader()
        self._parts = PartStore()

    @property
    def revision(self) -> int:
        """In which messages are written now."""
        return self._revision

    @property
    def skipped_bytes(self) -> int:
        """Bytes of overlong rubbish that no event carries."""
        return self._reader.skipped_bytes

    @property
    def evicted_parts(self) -> int:
        """Packets of split messages given up, because others needed the room."""
        return self._parts.evicted_parts

    # -- receiving ------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes complete, in order. Never raises for what the peer sends."""
        events: list[Event] = []
        for found in self._reader.feed(data):
            self._take(found, events)
        return events

    def close(self) -> list[Event]:
        """What the end of the stream leaves behind."""
        events: list[Event] = [BadBytes(rest.reason, rest.raw) for rest in self._reader.close()]
        events += [self._join(parts) for parts in self._parts.moved_on(None)]
        return events

    def _take(self, found: Frame | Malformed, events: list[Event]) -> None:
        if isinstance(found, Malformed):
            events.append(BadBytes(found.reason, found.raw))
            return
        try:
            header, body = split_header(found.content)
        except DecodeError as error:
            events.append(BadBytes(str(error), found.raw))
            return
        self._learn(header)
        if self._parts.is_waiting:
            events += [self._join(parts) for parts in self._parts.moved_on(header.phone, header)]
        if header.part is None:
            events.append(self._read(header, body, found.raw))
        elif not 1 <= header.part.number <= header.part.total:
            number, total = header.part
            events.append(BadBytes(f"packet {number} of {total}", found.raw, header))
        else:
            events.append(PartReceived(header, body, found.raw))
            parts = self._parts.put(header, body, found.raw)
            if parts is not None:
                events.append(self._join(parts))

    def _join(self, parts: list[Part]) -> Event:
        whole = b"".join(part.body for part in parts)
        raw = b"".join(part.raw for part in parts)
        return self._read(parts[-1].header, whole, raw, tuple(part.header for part in parts))

    def _learn(self, header: Header) -> None:
        self.phone = header.phone
        # Replies come in the shape the peer uses, whatever edition its bodies are of.
        self._header_is_2019 = header.is_2019
        self._revision = self._revision_for(header)

    def _read(
        self, header: Header, body: bytes, raw: bytes, packets: tuple[Header, ...] = ()
    ) -> Event:
        if header.encryption:
            kind = "RSA" if header.encryption == 1 else f"method {header.encryption}"
            return BadBytes(f"encrypted: {kind}, no key", raw, header)
        if header.message_id not in MESSAGES:
            return UnknownMessage(header, body, raw, packets)
        try:
            message, rest, revision = read_body(header.message_id, body, self._revision)
        except DecodeError as error:
            return BadBytes(f"0x{header.message_id:04X} {error}", raw, header)
        if isinstance(message, Registration) and not header.is_2019:
            # The one body that tells 2011 from 2013.
            self._revision = self._settled_revision or revision
        return Received(header, message, body, raw, revision, rest, packets)

    # -- sending --------------------------------------------------------------------------------

    def send(self, message: Any, *, to: Header | None = None, phone: str | None = None) -> bytes:
        """The frame for a message, or the frames where its body needs more than one packet.

        to: the header answered, whose number, shape and edition the frame takes; phone: only the
        number. Without either: the last terminal heard. Raises EncodeError.
        """
        return b"".join(self.send_frames(message, to=to, phone=phone))

    def send_frames(
        self, message: Any, *, to: Header | None = None, phone: str | None = None
    ) -> list[bytes]:
        """As `send`, frame by frame: several terminals read only one frame from a packet."""
        message_id = MESSAGE_IDS[type(message)]
        revision = self._revision if to is None else self._revision_for(to)
        if revision not in revisions_of(type(message)):
            raise EncodeError(f"0x{message_id:04X} is not in {revision}")
        return self.send_body(message_id, encode(message, revision), to=to, phone=phone)

    def send_body(
        self, message_id: int, body: bytes, *, to: Header | None = None, phone: str | None = None
    ) -> list[bytes]:
        """Frames for a body that is already bytes: messages of a vendor, copies of foreign ones."""
        number = phone or (to.phone if to else self.phone)
        if number is None:
            raise EncodeError("phone: whose terminal is this? nothing was heard of it yet")
        # Twenty digits were heard in a header of 2019; nothing older has room for them.
        is_2019 = to.is_2019 if to else self._header_is_2019 or len(number) == 20
        pieces = [body[at : at + BODY_SIZE_MAX] for at in range(0, len(body), BODY_SIZE_MAX)]
        total = len(pieces)
        frames = []
        for index, piece in enumerate(pieces or [b""], start=1):
            part = PartNumber(index, total) if total > 1 else None
            header = Header(message_id, number, self.next_serial, is_2019, part=part)
            frames.append(wrap(header, piece))
            self.next_serial = (self.next_serial + 1) % SERIAL_COUNT
        return frames

    def _revision_for(self, header: Header) -> int:
        """The edition to write in to a peer that sent this header."""
        if header.is_2019:
            return 2019
        if self._revision == 2019 and self._settled_revision != 2019:
            return 2013
        return self._revision

    def answer(self, event: Event, result: int = OK) -> bytes:
        """The general answer to an event: 0x8001 to a terminal, 0x0001 to a platform.

        Raises EncodeError for bytes without a header: there is nothing to answer.
        """
        header = event.header
        if header is None:
            raise EncodeError("bytes that are no frame cannot be answered")
        answer_class = TerminalAnswer if is_downlink(header.message_id) else PlatformAnswer
        message = answer_class(header.serial, header.message_id, result)
        return self.send(message, to=header)


def is_downlink(message_id: int) -> bool:
    """Whether a platform sends it: 8xxx to Dxxx and, since 2019 for vendors, Fxxx."""
    return 0x8000 <= message_id <= 0xDFFF or message_id >= 0xF000


def wants_answer(message_id: int) -> bool:
    """Whether a general answer is due if there is no answer of its own."""
    return message_id not in _ANSWERS


def read_body(message_id: int, body: bytes, revision: int) -> tuple[Any, bytes, int]:
    """Message, bytes left over, and the revision in which it was read.

    Terminals send bodies of one edition under headers of another, and some messages have variants.
    The revision given is tried first; another counts only if it leaves nothing over. Raises
    DecodeError as the revision given sees it.
    """
    spec = MESSAGES[message_id]
    own: tuple[Any, bytes, int] | None = None
    failure: DecodeError | None = None
    for candidate in _ORDER[revision]:
        for message_class in spec.classes_of(candidate):
            try:
                message, rest = decode(message_class, body, candidate)
            except DecodeError as error:
                failure = failure or error
                continue
            if not rest:
                return message, rest, candidate
            if candidate == revision:
                own = own or (message, rest, candidate)
    if own is None:
        assert failure is not None
        raise failure
    return own


_ORDER = {2011: (2011, 2013, 2019), 2013: (2013, 2011, 2019), 2019: (2019, 2013, 2011)}
