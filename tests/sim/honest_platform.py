"""A small, honest JT/T 808 platform for the simulator to talk to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from greenhaul_protocols.jt808 import (
    Authentication,
    BatchReport,
    Conversation,
    Event,
    LocationReport,
    Received,
    Registration,
    RegistrationAnswer,
)
from greenhaul_sim.link import Address


@dataclass
class Platform:
    """Registers everybody, keeps every report, answers as `decide` says.

    decide: called with each event that wants a general answer; a result, or None for silence.
    """

    decide: Callable[[Event], int | None] = lambda _event: 0
    received: list[Received] = field(default_factory=list)
    reports: list[tuple[str, LocationReport]] = field(default_factory=list)
    codes: dict[str, str] = field(default_factory=dict)
    connections: set["Connection"] = field(default_factory=set)
    address: Address = field(default_factory=lambda: Address("127.0.0.1", 0))
    server: asyncio.Server | None = None
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Listen; on the port of the last time, if there was one."""
        self.server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), self.address.host, self.address.port, reuse_address=True
        )
        self.address = Address("127.0.0.1", self.server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Drop everybody and listen no more."""
        assert self.server is not None
        self.server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await self.server.wait_closed()

    async def heard(self, count: int) -> None:
        """Returns when so many reports have arrived in all."""
        while len(self.reports) < count:
            self.arrival.clear()
            await self.arrival.wait()

    def messages(self, message_class: type[Any]) -> list[Received]:
        """What came of one class."""
        return [event for event in self.received if isinstance(event.message, message_class)]

    def answer(self, conversation: Conversation, event: Event) -> bytes:
        assert isinstance(event, Received), event
        self.received.append(event)
        phone = event.header.phone
        match event.message:
            case Registration():
                code = self.codes[phone] = f"code-{phone}"
                return conversation.send(RegistrationAnswer(event.header.serial, 0, code))
            case Authentication(auth_code=code) if self.codes.get(phone) != code:
                return conversation.answer(event, 1)
        result = self.decide(event)
        if result == 0:
            self._keep(phone, event.message)
            self.arrival.set()
        return b"" if result is None else conversation.answer(event, result)

    def _keep(self, phone: str, message: Any) -> None:
        match message:
            case LocationReport():
                self.reports.append((phone, message))
            case BatchReport(reports=reports):
                for report in reports:
                    assert isinstance(report, LocationReport)
                    self.reports.append((phone, report))


class Connection(asyncio.Protocol):
    """One terminal's connection to the platform."""

    transport: asyncio.Transport

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._conversation = Conversation()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._platform.connections.add(self)

    def data_received(self, data: bytes) -> None:
        for event in self._conversation.receive(data):
            self.transport.write(self._platform.answer(self._conversation, event))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._platform.connections.discard(self)


@contextlib.asynccontextmanager
async def running(platform: Platform) -> AsyncIterator[Platform]:
    """The platform, listening."""
    await platform.start()
    try:
        yield platform
    finally:
        await platform.stop()
