"""General answers to a terminal, as a platform gives them: every report wants one."""

import struct

from greenhaul_protocols.jt808 import Conversation, Header, Received, UnknownMessage, wants_answer
from greenhaul_protocols.jt808.framing import content_of, frame_of
from greenhaul_protocols.jt808.header import SERIAL_COUNT, wrap

# From its own serial on: then serial and id of what it answers, and the result.
_ANSWER_ID, _ANSWER, _BLANK = 0x8001, struct.Struct(">HHHB"), bytes(5)


class GeneralAnswers:
    """Writes 0x8001 with the serials of a conversation.

    Says what `Conversation.answer` says, without the detours by declaration and header: of one
    terminal only serials change.
    """

    __slots__ = ("_conversation", "_head", "_key")

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._key, self._head = ("", False), b""

    def to_message(self, event: Received | UnknownMessage, result: int) -> bytes:
        """The answer to a message; to a split one, one for each of its packets."""
        if not wants_answer(event.header.message_id):
            return b""
        packets = event.packets or (event.header,)
        return b"".join(
            self.to_packet(one.phone, one.is_2019, one.serial, one.message_id, result)
            for one in packets
        )

    def to_packet(
        self, phone: str, is_2019: bool, serial: int, message_id: int, result: int
    ) -> bytes:
        """The answer to a packet."""
        if self._key != (phone, is_2019):
            blank = wrap(Header(_ANSWER_ID, phone, 0, is_2019), _BLANK)
            self._key, self._head = (phone, is_2019), content_of(blank[1:-1])[: -_ANSWER.size]
        own = self._conversation.next_serial
        self._conversation.next_serial = (own + 1) % SERIAL_COUNT
        return frame_of(self._head + _ANSWER.pack(own, serial, message_id, result))

    def serials(self, count: int) -> list[int]:
        """Serials of so many answers written elsewhere."""
        first = self._conversation.next_serial
        self._conversation.next_serial = (first + count) % SERIAL_COUNT
        return [(first + number) % SERIAL_COUNT for number in range(count)]
