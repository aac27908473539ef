"""A gateway in good health, for tests of the doctor to spoil."""

import json
import os
import pty
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.secure_broker import PASSWORD, SecureBroker

from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.room import Bounds
from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.times import format_time

NOW_MS = 1_800_000_000_000


@dataclass
class Box:
    """A gateway in good health, to be spoiled."""

    folder: Path
    broker: SecureBroker
    stack: ExitStack
    gateway: dict[str, object] = field(default_factory=lambda: {"id": "gw-a"})
    outbox: dict[str, object] = field(default_factory=lambda: {"size_max_mb": 64})
    uplink: dict[str, object] = field(default_factory=dict)
    sources: dict[str, dict[str, object]] = field(default_factory=dict)
    running: dict[str, Any] | None = None
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.password = self.folder / "password"
        self.password.write_text(PASSWORD.format("gw-a"))
        self.password.chmod(0o600)
        self.uplink |= {
            "port": self.broker.port, "tls": True, "ca_file": str(self.broker.authority.ca),
            "username": "gw-a", "password_file": str(self.password),
        }  # fmt: skip
        self.sources["t"] = {"type": "jt808", "listen": "127.0.0.1:0", "connections_max": 10}
        (self.folder / "outbox").mkdir()

    @property
    def config(self) -> Path:
        """edge.toml as it stands."""
        return self.folder / "edge.toml"

    @property
    def file(self) -> Path:
        """The outbox's file."""
        return self.folder / "outbox/outbox.sqlite"

    def write(self) -> Path:
        """Write edge.toml, and what a running agent would say."""
        sections = {"gateway": self.gateway, "outbox": self.outbox, "uplink": self.uplink}
        sections |= {f"sources.{name}": one for name, one in self.sources.items()}
        lines = []
        for name, section in sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(one)}" for key, one in section.items())]
        self.config.write_text("\n".join(lines) + "\n")
        if self.running is not None:
            (self.folder / "outbox/status.json").write_text(json.dumps(self.running))
        return self.config

    def fill(self, readings: int = 10, gateway: str = "gw-a", committed_ms: int = NOW_MS) -> None:
        """An outbox with readings that wait."""
        bounds = Bounds(64 << 20)
        file = OutboxFile(self.file, gateway, boot=1, now_ms=committed_ms, bounds=bounds)
        from greenhaul_edge.outbox.chunks import Batch

        for start in range(0, readings, 1_000):
            batch = [
                Position(
                    source="808:1", device_time_ms=i, received_time_ms=0, latitude_deg=30.0,
                    longitude_deg=112.0, items=os.urandom(400),
                )
                for i in range(start, min(start + 1_000, readings))
            ]  # fmt: skip
            file.append([Batch(batch)], committed_ms)
        file.close()

    def run(self, **more: Any) -> None:
        """As if an agent ran, and said this."""
        self.running = {
            "pid": os.getpid(), "at": format_time(time.time_ns() // 1_000_000), "clock": "ntp",
            "configuration": {"loaded_at": "2100-01-01T00:00:00Z", "fault": ""},
            "written_bytes_a_day": 1, "idle_ms": {"outbox": 0, "uplink": 0},
            "uplink": {"link": "connected", "cloud": "answers"}, "sources": {},
        } | more  # fmt: skip

    def serial(self, name: str = "g") -> Path:
        """A receiver's port: a pseudo terminal."""
        ours, theirs = pty.openpty()
        port = Path(os.ttyname(theirs))
        self.stack.callback(os.close, ours)
        os.close(theirs)
        self.sources[name] = {"type": "gnss", "port": str(port)}
        return port


Plant = Callable[[Box], None]
