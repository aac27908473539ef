"""A terminal on a real socket, and what it says."""

import socket
from collections.abc import Callable

from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_protocols.jt808 import (
    Authentication,
    Conversation,
    LocationReport,
    PlatformAnswer,
    Received,
    Registration,
    RegistrationAnswer,
)
from greenhaul_protocols.jt808 import clock as wire_clock

PHONE = "13912345678"
REGISTRATION = Registration(41, 13, "MAKER", "MODEL-1", "T000001", 2, "豫R12345")
SECRET = b"\x01" * 32


def report(time_ms: int, latitude_deg: float = 32.99) -> LocationReport:
    """A located report."""
    digits = wire_clock.digits_of(time_ms)
    return LocationReport(0, 3, latitude_deg, 112.52, 130, 36.5, 90, digits)


class Terminal:
    """A terminal on a real socket."""

    def __init__(self, address: str, phone: str = PHONE) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.conversation = Conversation(phone=phone, revision=2013)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def ask(self, message: object) -> object:
        """Send a message; the body of the answer."""
        self.socket.sendall(self.conversation.send(message))
        return self.answer()

    def answer(self) -> object:
        """The next answer; None when the server hung up."""
        return self.answers(1)[0]

    def answers(self, count: int) -> list[object]:
        """The next answers; None for each that a closed connection does not bring."""
        found: list[object] = []
        while len(found) < count:
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:  # hung up on with bytes it had not read
                data = b""
            if not data:
                return found + [None] * (count - len(found))
            events = self.conversation.receive(data)
            found += [event.message for event in events if isinstance(event, Received)]
        return found

    def sign_in(self) -> str:
        """Register and authenticate; the code."""
        registered = self.ask(REGISTRATION)
        assert isinstance(registered, RegistrationAnswer)
        assert registered.auth_code
        about = ("123456789012345", "v1") if self.conversation.revision == 2019 else ()
        answer = self.ask(Authentication(registered.auth_code, *about))
        assert isinstance(answer, PlatformAnswer)
        assert answer.result == 0
        return registered.auth_code


Listen = Callable[..., Jt808Source]
Dial = Callable[..., Terminal]
