"""One JT/T 808 connection without the connection: bytes in, events out; messages in, bytes out.

No sockets, no clock, no role: a platform and a terminal drive the same class. Time is an argument,
milliseconds of a clock of the caller's choice that only goes forward.
"""

from collections.abc import Callable
from typing import Any

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808.bodies import read_body
from greenhaul_protocols.jt808.declaration import (
    MESSAGE_IDS,
    MESSAGES,
    REVISIONS,
    encode,
    revisions_of,
)
from greenhaul_protocols.jt808.events import (
    BadBytes,
    Due,
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
    is_downlink,
    split_header,
    wrap,
)
from greenhaul_protocols.jt808.messages import (
    PlatformAnswer,
    PlatformResendRequest,
    Registration,
    TerminalAnswer,
    TerminalResendRequest,
)
from greenhaul_protocols.jt808.messages_records import PlatformKey, TerminalKey
from greenhaul_protocols.jt808.parts import Missing, Part, PartStore
from greenhaul_protocols.jt808.requests import (
    ANSWER_TIMEOUT_MS,
    REPLY_IDS,
    RETRANSMISSIONS,
    OpenRequests,
    Request,
    SentSplits,
)
from greenhaul_protocols.jt808.rsa import (
    BLOCK_SIZE,
    DATA_SIZE_MAX,
    PrivateKey,
    PublicKey,
    decrypt,
    encrypt,
)

# Results of a general answer.
OK, FAILED, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3

_RSA = 1
RandomBytes = Callable[[int], bytes]
_ENCRYPTED_SIZE_MAX = BODY_SIZE_MAX // BLOCK_SIZE * DATA_SIZE_MAX
PART_COUNT_MAX = 0xFFFF
# Packet numbers that fit a request for them, whose count is one byte until 2019.
_NUMBERS_MAX = 255


class Conversation:
    """Both directions of one connection.

    phone: the terminal's number, for a terminal; a platform learns it. revision: 2011, 2013 or
    2019, to write in and to read what a frame alone does not settle; None learns it from the peer
    and means 2013 until then. private_key: opens RSA bodies; without it they are kept whole.
    answer_timeout_ms, retransmissions: of requests (parameters 0x0002 and 0x0003).
    """

    __slots__ = (
        "_answer_times",
        "_header_is_2019",
        "_parts",
        "_private_key",
        "_reader",
        "_requests",
        "_revision",
        "_sent",
        "_settled_revision",
        "key_uses_left",
        "next_serial",
        "peer_key",
        "phone",
    )

    def __init__(
        self,
        *,
        phone: str | None = None,
        revision: int | None = None,
        private_key: PrivateKey | None = None,
        answer_timeout_ms: int = ANSWER_TIMEOUT_MS,
        retransmissions: int = RETRANSMISSIONS,
    ) -> None:
        if revision is not None and revision not in REVISIONS:
            raise ValueError(f"revision {revision}: there are {', '.join(map(str, REVISIONS))}")
        self.phone = phone
        self.next_serial = 0  # of the next message sent
        self._settled_revision = revision
        self._revision = revision or 2013
        self._header_is_2019 = self._revision >= 2019
        self._reader = FrameReader()
        self._private_key = private_key
        # Packets the private key is still tried on, for a peer that may be anybody: each costs
        # milliseconds. None: any number.
        self.key_uses_left: int | None = None
        self.peer_key: PublicKey | None = None  # said by the peer in 0x0A00 or 0x8A00
        # Ten thousand idle terminals need none of these.
        self._parts: PartStore | None = None
        self._sent: SentSplits | None = None
        self._requests: OpenRequests | None = None
        self._answer_times = answer_timeout_ms, retransmissions

    @property
    def revision(self) -> int:
        """In which messages are written now. Setting it settles it, whatever the peer sends."""
        return self._revision

    @revision.setter
    def revision(self, revision: int) -> None:
        if revision not in REVISIONS:
            raise ValueError(f"revision {revision}: there are {', '.join(map(str, REVISIONS))}")
        self._settled_revision = self._revision = revision

    @property
    def skipped_bytes(self) -> int:
        """Bytes of overlong rubbish that no event carries."""
        return self._reader.skipped_bytes

    @property
    def evicted_parts(self) -> int:
        """Packets of split messages given up, because others needed the room."""
        return self._parts.evicted_parts if self._parts else 0

    @property
    def waiting_bytes(self) -> int:
        """Memory of the packets of split messages that wait for the others."""
        return self._parts.waiting_bytes if self._parts else 0

    # -- receiving ------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes complete, in order. Never raises for what the peer sends."""
        events: list[Event] = []
        for found in self._reader.feed(data):
            self.take(found, events)
        return events

    def receive_datagram(self, data: bytes) -> list[Event]:
        """What one datagram says. Frames do not go on in the next, and some terminals leave the
        delimiters out."""
        reader = FrameReader()
        events: list[Event] = []
        for found in [*reader.feed(data), *reader.close()]:
            self.take(found, events)
        return events

    def close(self) -> list[Event]:
        """What the end of the stream leaves behind."""
        events: list[Event] = []
        for rest in self._reader.close():
            self.take(rest, events)
        if self._parts:
            events += [self._join(parts) for parts in self._parts.moved_on(None)]
        return events

    def take(self, found: Frame | Malformed, events: list[Event]) -> None:
        """Append what a frame that is already cut out completes."""
        if isinstance(found, Malformed):
            events.append(BadBytes(found.reason, found.raw))
            return
        try:
            header, body = split_header(found.content)
        except DecodeError as error:
            events.append(BadBytes(str(error), found.raw))
            return
        self._learn(header)
        if self._parts and self._parts.is_waiting:
            events += [self._join(parts) for parts in self._parts.moved_on(header.phone, header)]
        is_open = self._can_open(header)
        if is_open and header.encryption:
            try:
                body = self._decrypted(body)
            except DecodeError as error:
                events.append(BadBytes(f"encrypted: {error}", found.raw, header))
                return
        if header.part is None:
            events.append(self._read(header, body, found.raw, is_open=is_open))
        elif not 1 <= header.part.number <= header.part.total:
            number, total = header.part
            events.append(BadBytes(f"packet {number} of {total}", found.raw, header))
        else:
            events.append(PartReceived(header, body, found.raw))
            self._parts = self._parts or PartStore()
            parts = self._parts.put(header, body, found.raw)
            if parts is not None:
                events.append(self._join(parts))

    def _join(self, parts: list[Part]) -> Event:
        whole = b"".join(part.body for part in parts)
        raw = b"".join(part.raw for part in parts)
        headers = tuple(part.header for part in parts)
        is_open = all(map(self._can_open, headers))
        return self._read(headers[-1], whole, raw, headers, is_open=is_open)

    def _can_open(self, header: Header) -> bool:
        return not header.encryption or (
            header.encryption == _RSA and self._private_key is not None
        )

    def _decrypted(self, body: bytes) -> bytes:
        assert self._private_key is not None
        if self.key_uses_left is not None:
            if not self.key_uses_left:
                raise DecodeError("RSA: the peer has not said yet who it is")
            self.key_uses_left -= 1
        return decrypt(body, self._private_key)

    def _learn(self, header: Header) -> None:
        self.phone = header.phone
        # Replies come in the shape the peer uses, whatever edition its bodies are of.
        self._header_is_2019 = header.is_2019
        self._revision = self._revision_for(header)

    def _read(
        self,
        header: Header,
        body: bytes,
        raw: bytes,
        packets: tuple[Header, ...] = (),
        *,
        is_open: bool,
    ) -> Event:
        if not is_open:
            kind = "RSA" if header.encryption == _RSA else f"method {header.encryption}"
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
        elif isinstance(message, TerminalKey | PlatformKey):
            modulus = int.from_bytes(message.modulus, "big")
            self.peer_key = PublicKey(modulus, message.exponent)
        request = self._requests.answered_by(header, message) if self._requests else None
        return Received(header, message, body, raw, revision, rest, packets, request)

    # -- sending --------------------------------------------------------------------------------

    def send(self, message: Any, *, to: Header | None = None, phone: str | None = None) -> bytes:
        """The frame for a message, or the frames where its body needs more than one packet.

        to: the header answered, whose number, shape and edition the frame takes; phone: only the
        number. Without either: the last terminal heard. Raises EncodeError.
        """
        return b"".join(self.send_frames(message, to=to, phone=phone))

    def send_frames(
        self,
        message: Any,
        *,
        to: Header | None = None,
        phone: str | None = None,
        random_bytes: RandomBytes | None = None,
    ) -> list[bytes]:
        """As `send`, frame by frame: several terminals read only one frame from a packet.

        random_bytes: a source of them encrypts the body with the peer's key.
        """
        message_id = MESSAGE_IDS[type(message)]
        revision = self._revision if to is None else self._revision_for(to)
        if revision not in revisions_of(type(message)):
            raise EncodeError(f"0x{message_id:04X} is not in {revision}")
        body = encode(message, revision)
        return self.send_body(message_id, body, to=to, phone=phone, random_bytes=random_bytes)

    def send_body(
        self,
        message_id: int,
        body: bytes,
        *,
        to: Header | None = None,
        phone: str | None = None,
        random_bytes: RandomBytes | None = None,
    ) -> list[bytes]:
        """Frames for a body that is already bytes: messages of a vendor, copies of foreign ones."""
        number = phone or (to.phone if to else self.phone)
        if number is None:
            raise EncodeError("phone: whose terminal is this? nothing was heard of it yet")
        # Twenty digits were heard in a header of 2019; nothing older has room for them.
        is_2019 = to.is_2019 if to else self._header_is_2019 or len(number) == 20
        size_max = BODY_SIZE_MAX if random_bytes is None else _ENCRYPTED_SIZE_MAX
        pieces = [body[at : at + size_max] for at in range(0, len(body), size_max)] or [b""]
        total = len(pieces)
        if total > PART_COUNT_MAX:
            raise EncodeError(f"body: {len(body)} bytes need {total} packets")
        first_serial = self.next_serial
        frames = []
        for index, piece in enumerate(pieces, start=1):
            part = PartNumber(index, total) if total > 1 else None
            encryption = 0
            if random_bytes is not None:
                piece, encryption = self._encrypted(piece, random_bytes), _RSA
            header = Header(message_id, number, self.next_serial, is_2019, encryption, part)
            frames.append(wrap(header, piece))
            self.next_serial = (self.next_serial + 1) % SERIAL_COUNT
        if total > 1:
            self._sent = self._sent or SentSplits()
            self._sent.put(message_id, first_serial, body, frames)
        return frames

    def _encrypted(self, body: bytes, random_bytes: RandomBytes) -> bytes:
        if self.peer_key is None:
            raise EncodeError("RSA: the peer has not said its key")
        return encrypt(body, self.peer_key, random_bytes)

    def resend(self, message: Any) -> list[bytes]:
        """The packets that a 0x8003, 0x0005 or 0x8800 of the peer asks for, as they were sent."""
        return self._sent.asked_for(message) if self._sent else []

    # -- requests -------------------------------------------------------------------------------

    def ask(
        self, message: Any, *, now_ms: int, to: Header | None = None, phone: str | None = None
    ) -> tuple[Request, list[bytes]]:
        """Send a message and wait for its answer: a Received whose `request` is the one returned.
        `poll` says when to send it again, and when it expired."""
        first_serial = self.next_serial
        frames = self.send_frames(message, to=to, phone=phone)
        serials = tuple((first_serial + n) % SERIAL_COUNT for n in range(len(frames)))
        request = Request(MESSAGE_IDS[type(message)], serials, tuple(frames))
        reply_id = REPLY_IDS.get(request.message_id)
        if reply_id is not None and self._revision not in MESSAGES[reply_id].revisions:
            reply_id = None
        self._requests = self._requests or OpenRequests(*self._answer_times)
        self._requests.put(request, reply_id, now_ms)
        return request, frames

    def poll(self, now_ms: int) -> Due:
        """What is due by now: to be called every second or so while something waits."""
        frames, expired = self._requests.overdue(now_ms) if self._requests else ([], [])
        given_up: list[BadBytes] = []
        if self._parts and self._parts.is_waiting:
            missing, abandoned = self._parts.overdue(now_ms)
            for one in missing:
                frames += self._ask_for(one)
            for parts in abandoned:
                total = parts[0].header.part.total if parts[0].header.part else 0
                reason = f"split: {len(parts)} of {total} packets came"
                raw = b"".join(part.raw for part in parts)
                given_up.append(BadBytes(reason, raw, parts[-1].header))
        return Due(frames, expired, given_up)

    def _ask_for(self, missing: Missing) -> list[bytes]:
        """The request for missing packets; none where the edition has no such request."""
        header = missing.header
        cls: Any = PlatformResendRequest
        if is_downlink(header.message_id):
            cls = TerminalResendRequest
        if self._revision_for(header) not in revisions_of(cls):
            return []
        return self.send_frames(
            cls(missing.first_serial, missing.numbers[:_NUMBERS_MAX]), to=header
        )

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
