"""A running gateway: sources, outbox and uplink started, watched and stopped in order."""

import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources import Source
from greenhaul_edge.uplink.link import Uplink
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.times import format_time

log = logging.getLogger(__name__)

LOG_PERIOD_S = 60.0


class Agent:
    """Owns the order of things: outbox first and last, sources in between."""

    def __init__(
        self,
        outbox: Outbox,
        uplink: Uplink,
        sources: Sequence[Source],
        clock: Clock,
        status_file: Path,
    ) -> None:
        self._outbox, self._uplink, self._sources = outbox, uplink, sources
        self._clock, self._status_file = clock, status_file
        self._stop = threading.Event()
        self._status_due = threading.Event()
        outbox.on_commit = uplink.note_commit
        uplink.on_change = self._status_due.set

    def run(self) -> None:
        """Until `stop`. Raises ConfigError if a source cannot be opened."""
        self._outbox.start()
        started: list[Source] = []
        try:
            for source in self._sources:
                source.start()
                started.append(source)
            self._uplink.start()
            self._watch()
        finally:
            for source in reversed(started):
                source.stop()
            self._uplink.stop()
            self._outbox.close()
            self._status_file.unlink(missing_ok=True)
            log.info("stopped gateway=%s", self._outbox.gateway)

    def stop(self) -> None:
        """End `run`; callable from a signal handler."""
        self._stop.set()
        self._status_due.set()

    def _watch(self) -> None:
        self._ask_clock()
        self._write_status()
        while not self._stop.is_set():
            was_change = self._status_due.wait(LOG_PERIOD_S)
            self._status_due.clear()
            self._ask_clock()
            self._write_status()
            if not was_change:
                self._log_line()

    def learn_server_time(self, utc_ms: int, at_monotonic_ms: int) -> None:
        """The cloud said what time it is."""
        self._learn(utc_ms, WallQuality.CLOUD, at_monotonic_ms)

    def _ask_clock(self) -> None:
        self._clock.ask_system()
        if self._clock.offset_ms is not None:
            self._outbox.map_clock(self._clock.offset_ms)

    def _learn(self, utc_ms: int, quality: WallQuality, at_monotonic_ms: int) -> None:
        if self._clock.learn(utc_ms, quality, at_monotonic_ms):
            log.info("clock learnt from=%s utc=%s", quality.name, format_time(utc_ms))
            self._status_due.set()

    def status(self) -> dict[str, Any]:
        """What the running agent knows beyond what lies in the outbox's file."""
        return {
            "pid": os.getpid(),
            "at": format_time(self._clock.now_ms()),
            "clock": self._clock.quality.name.lower(),
            "uplink": dict(self._uplink.state()),
            "sources": {source.name: dict(source.state()) for source in self._sources},
        }

    def _write_status(self) -> None:
        draft = self._status_file.with_suffix(".tmp")
        try:
            draft.write_text(json.dumps(self.status()), encoding="utf-8")
            draft.replace(self._status_file)
        except OSError as error:
            log.warning("status file: %s", error)

    def _log_line(self) -> None:
        outbox = self._outbox
        lanes = outbox.view().lanes
        waiting = sum(lane.unsettled.total for lane in lanes)
        log.info(
            "gateway=%s committed=%d commits=%d refused=%d waiting=%d is_full=%s %s",
            outbox.gateway,
            outbox.committed_readings,
            outbox.commits,
            outbox.refused_readings,
            waiting,
            outbox.is_full,
            _pairs(self._uplink.state()),
        )
        for source in self._sources:
            log.info("source=%s %s", source.name, _pairs(source.state()))


def _pairs(state: Mapping[str, str | int | None]) -> str:
    return " ".join(f"{key}={value!r}" for key, value in state.items() if value not in (0, None))
