"""What a conversation makes of the bytes it receives."""

from typing import Any, NamedTuple

from greenhaul_protocols.jt808.header import Header
from greenhaul_protocols.jt808.requests import Request


class Received(NamedTuple):
    """A message that could be decoded, whole; a split one once all its packets are there."""

    header: Header  # of the last packet, where the message was split
    message: Any  # a declared class of MESSAGES
    body: bytes
    raw: bytes  # its frame; of a split message all frames, in order
    revision: int  # in which the body was read
    rest: bytes = b""  # bytes of the body behind what the message declares
    packets: tuple[Header, ...] = ()  # of a split message, in order: each may want an answer
    request: Request | None = None  # of ours, which it answers

    @property
    def is_joined(self) -> bool:
        """Whether the message came in several packets."""
        return bool(self.packets)


class UnknownMessage(NamedTuple):
    """A message id that is not declared; the standard's answer is 3, unsupported."""

    header: Header
    body: bytes
    raw: bytes
    packets: tuple[Header, ...] = ()

    @property
    def is_joined(self) -> bool:
        """Whether the message came in several packets."""
        return bool(self.packets)


class PartReceived(NamedTuple):
    """One packet of a split message. The message follows as Received when the last one is there."""

    header: Header  # header.part says which
    body: bytes
    raw: bytes


class BadBytes(NamedTuple):
    """Bytes that are no frame, or a frame that is no message: kept whole, with the reason."""

    reason: str
    raw: bytes
    header: Header | None = None  # None: not even a frame


class Due(NamedTuple):
    """What time has brought about."""

    frames: list[bytes]  # to send: requests once more, requests for packets that are missing
    expired: list[Request]  # never answered
    given_up: list[BadBytes]  # split messages whose missing packets never came


Event = Received | UnknownMessage | PartReceived | BadBytes
