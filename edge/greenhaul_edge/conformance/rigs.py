"""The other end of a source's line, played: one rig a type of source.

A rig says what the truck would say, honest or not. It takes the place of port, bus or address in
the configured settings; everything else of them is tested as configured.
"""

import os
import random
import socket
import tempfile
import tty
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from greenhaul_edge.config import CanSettings, GnssSettings, Jt808Settings
from greenhaul_edge.sources import Source
from greenhaul_edge.sources.can_mapping import SHIPPED
from greenhaul_protocols.jt808 import Conversation, LocationReport, clock
from greenhaul_protocols.times import to_datetime

_PHONE = "13900000007"
# Reports a terminal sends before it wants to see them acknowledged, and how long it waits.
_DOZEN = 12
_PATIENCE_S = 1.0


class Rig(Protocol):
    """What a rig can do. `settings` are those the source under test gets."""

    settings: Any

    def plug(self, source: Source) -> None:
        """Connect; the source has been started."""

    def unplug(self) -> None:
        """Disconnect without a word."""

    def say(self, count: int, from_ms: int) -> None:
        """So many good reports, a second apart; each is at least one reading."""

    def garble(self, seed: int, size: int) -> None:
        """Noise, and good reports with flipped bits. Errors of the line are none of ours."""

    def close(self) -> None:
        """Leave nothing behind."""


class _PtyRig:
    """A serial line that is a pseudo terminal behind a link, as udev makes them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.link = Path(self._folder.name) / "port"
        self._master = self._slave = -1
        self._make()

    def plug(self, source: Source) -> None:  # noqa: ARG002  # the link is the address
        """A new pty, under another name, behind the same link."""
        if self._master < 0:
            self._make()

    def unplug(self) -> None:
        """Both ends vanish."""
        if self._master >= 0:
            self.link.unlink()
            os.close(self._slave)
            os.close(self._master)
            self._master = -1

    def write(self, data: bytes) -> None:
        """On the line; what the other end does not read in time is lost, as on a serial line."""
        while data:
            try:
                data = data[os.write(self._master, data) :]
            except OSError:
                return

    def close(self) -> None:
        """Leave nothing behind."""
        self.unplug()
        self._folder.cleanup()

    def _make(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.link.symlink_to(os.ttyname(self._slave))


class GnssRig(_PtyRig):
    """A receiver."""

    def __init__(self, settings: GnssSettings) -> None:
        super().__init__()
        self.settings = replace(settings, port=str(self.link), cadence_s=0.0)

    def say(self, count: int, from_ms: int) -> None:
        """Fixes of as many seconds."""
        self.write(b"".join(_fix(from_ms + 1000 * n) for n in range(count)))

    def garble(self, seed: int, size: int) -> None:
        """Binary noise and damaged sentences."""
        self.write(_noise(seed, size, _fix(0)) + b"\n")


class CanRig(_PtyRig):
    """An slcan adapter on a serial line, with the battery of a J1939 truck."""

    def __init__(self, settings: CanSettings) -> None:
        super().__init__()
        self.settings = replace(
            settings,
            interface="slcan",
            channel=str(self.link),
            bitrate=None,
            mapping=SHIPPED / "j1939-hvess.toml",
            cadence_s=0.1,
        )
        self._count = 0

    def say(self, count: int, from_ms: int) -> None:  # noqa: ARG002  # frames carry no time
        """As many frames; readings come at the cadence."""
        lines = []
        for _ in range(count):
            self._count += 1
            data = (8_000 + self._count % 8_000).to_bytes(2, "little") * 4
            lines.append(b"T18F091F38" + data.hex().upper().encode() + b"\r")
        self.write(b"".join(lines))

    def garble(self, seed: int, size: int) -> None:
        """What a loose plug makes of the adapter's lines."""
        self.write(_noise(seed, size, b"T18F091F38401F401F401F401F\r") + b"\r")


class Jt808Rig:
    """A terminal over TCP."""

    def __init__(self, settings: Jt808Settings) -> None:
        self.settings = replace(settings, listen="127.0.0.1:0", transport="tcp", auth="open")
        self._link: socket.socket | None = None
        self._conversation = Conversation(phone=_PHONE)
        self._unanswered: list[bytes] = []

    def plug(self, source: Source) -> None:
        """A connection."""
        host, _, port = str(source.state()["address"]).rpartition(":")
        self._link = socket.create_connection((host, int(port)), timeout=_PATIENCE_S)

    def unplug(self) -> None:
        """The connection is gone."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def say(self, count: int, from_ms: int) -> None:
        """Location reports, a second apart; what is not acknowledged is sent again."""
        for n in range(count):
            digits = clock.digits_of(from_ms + 1000 * n)
            report = LocationReport(0, 3, 32.9 + n / 1e6, 112.5, 130, 36.0, 90, digits)
            self._unanswered.append(self._conversation.send(report))
            if len(self._unanswered) >= _DOZEN or n == count - 1:
                self._exchange()

    def _exchange(self) -> None:
        """Sends what was not acknowledged yet; what is not acknowledged now is kept."""
        assert self._link is not None
        self._link.sendall(b"".join(self._unanswered))
        answers = b""
        with suppress(TimeoutError):
            while answers.count(b"\x7e") < 2 * len(self._unanswered):
                piece = self._link.recv(4096)
                if not piece:
                    return
                answers += piece
        del self._unanswered[: answers.count(b"\x7e") // 2]

    def garble(self, seed: int, size: int) -> None:
        """Noise, in a connection of its own: the source may end it."""
        assert self._link is not None
        good = self._conversation.send(LocationReport(0, 3, 1, 1, 1, 1, 1, "261120070405"))
        with suppress(OSError), socket.create_connection(self._link.getpeername(), 10) as noisy:
            noisy.sendall(_noise(seed, size, good))

    def close(self) -> None:
        """Leave nothing behind."""
        self.unplug()


def _fix(at_ms: int) -> bytes:
    moment = to_datetime(at_ms)
    bodies = (
        f"GNRMC,{moment:%H%M%S}.000,A,3259.5000,N,11231.2000,E,20.0,91.5,{moment:%d%m%y},,,A",
        f"GNGGA,{moment:%H%M%S}.000,3259.5000,N,11231.2000,E,1,12,0.9,131.2,M,0,M,,",
    )
    return b"".join(_sentence(body) for body in bodies)


def _sentence(body: str) -> bytes:
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n".encode()


def _noise(seed: int, size: int, good: bytes) -> bytes:
    chance = random.Random(seed)
    found = bytearray()
    while len(found) < size:
        found += chance.randbytes(chance.randrange(1, 400))
        damaged = bytearray(good)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        found += damaged[: chance.randrange(1, len(damaged) + 1)]
    return bytes(found)


# By the type of source. A plug-in's line stands beside its line in SOURCES.
RIGS: dict[str, Callable[[Any], Rig]] = {"jt808": Jt808Rig, "gnss": GnssRig, "can": CanRig}
