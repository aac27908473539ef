"""A running gateway: sources, outbox and uplink started, watched, changed and stopped in order."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from greenhaul_edge.clock import Clock, ServerTime
from greenhaul_edge.config import Config, load_config
from greenhaul_edge.last_seen import LastSeen
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.reload import Change, difference
from greenhaul_edge.sources import Source
from greenhaul_edge.supervision import HUNG_MS, Beat, Care, Supervisor
from greenhaul_edge.systemd import ServiceManager
from greenhaul_edge.traffic import written_bytes_a_day
from greenhaul_edge.uplink.link import Uplink
from greenhaul_edge.uplink.wires import OnServerTime
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import TimeQuality
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import format_time

log = logging.getLogger(__name__)

LOG_PERIOD_S = 60.0
# Between two looks at the stages, and two signs of life for the service manager.
LOOK_PERIOD_S = 5.0
# Between two writings of the status file, whatever happens: a link may come and go all day.
STATUS_PERIOD_S_MIN = 1.0
# How long a hung stage may take to end, and the outbox to commit what waits, before we go on.
PATIENCE_S = 5.0
# Exit code of a process that could not get a stage going again; 2 would say: never try again.
HUNG = 3

_OUTBOX, _UPLINK = "outbox", "uplink"


class Parts(Protocol):
    """Makes what the agent runs."""

    def uplink(self, config: Config, on_server_time: OnServerTime) -> Uplink:
        """An uplink, not yet started. Raises ConfigError."""

    def source(self, config: Config, name: str) -> Source:
        """A source, not yet started. Raises ConfigError."""

    def reconfigure_outbox(self, config: Config) -> None:
        """New bounds for the outbox that is open."""


class Agent:
    """Owns the order of things: outbox first and last, sources in between."""

    def __init__(
        self,
        config: Config,
        parts: Parts,
        outbox: Outbox,
        clock: Clock,
        last_seen: LastSeen,
        status_file: Path,
        service: ServiceManager,
        *,
        hung_ms: int = HUNG_MS,
        end_process: Callable[[int], None] = os._exit,
    ) -> None:
        self._config, self._parts, self._outbox, self._clock = config, parts, outbox, clock
        self._last_seen, self._status_file, self._service = last_seen, status_file, service
        self._end_process = end_process
        window_ms = round(config.outbox.commit_window_s * 1000)
        self._supervisor = Supervisor(hung_ms + window_ms)
        self._uplink: Uplink | None = None
        self._sources: dict[str, Source] = {}
        self._is_mapped = False
        self._config_at_ms, self._config_fault = clock.now_ms(), ""
        self._stop = threading.Event()
        self._reload = threading.Event()
        self._wake = threading.Event()

    def run(self) -> None:
        """Until `stop`. Raises ConfigError if a source cannot be opened."""
        self._outbox.on_drop = self._wake.set
        self._outbox.start()
        self._supervisor.watch(_OUTBOX, can_restart=False)
        try:
            for name in self._config.sources:
                self._start_source(self._parts.source(self._config, name))
            self._start_uplink(self._parts.uplink(self._config, self.learn_server_time))
            self._service.ready()
            self._watch()
        finally:
            self._service.stopping()
            for source in reversed(self._sources.values()):
                source.stop()
            if self._uplink is not None:
                self._uplink.stop()
            self._outbox.close()
            self._status_file.unlink(missing_ok=True)
            log.info("stopped gateway=%s", self._outbox.gateway)

    def stop(self) -> None:
        """End `run`; callable from a signal handler."""
        self._stop.set()
        self._wake.set()

    def reload(self) -> None:
        """Read the configuration again; callable from a signal handler."""
        self._reload.set()
        self._wake.set()

    def learn_server_time(self, said: ServerTime) -> None:
        """The cloud said what time it was."""
        self._last_seen.note(said.utc_ms)
        if self._clock.hear(said):
            log.info("clock learnt from=CLOUD utc=%s", format_time(said.utc_ms))
            self._wake.set()

    def status(self) -> dict[str, Any]:
        """What the running agent knows beyond what lies in the outbox's file."""
        assert self._uplink is not None
        now_ms = time.monotonic_ns() // 1_000_000
        return {
            "pid": os.getpid(),
            "at": format_time(self._clock.now_ms()),
            "clock": self._clock.quality.name.lower(),
            "clock_error_ms": self._clock.error_ms,
            "configuration": {
                "loaded_at": format_time(self._config_at_ms),
                "fault": self._config_fault,
            },
            "written_bytes_a_day": written_bytes_a_day(),
            "idle_ms": {name: now_ms - beat.at_ms for name, beat in self._beats().items()},
            "uplink": dict(self._uplink.state()),
            "sources": {name: dict(one.state()) for name, one in self._sources.items()},
        }

    def _watch(self) -> None:
        log_at = time.monotonic() + LOG_PERIOD_S
        watchdog_s = self._service.watchdog_s
        period_s = LOOK_PERIOD_S if watchdog_s is None else min(LOOK_PERIOD_S, watchdog_s / 3)
        is_due, write_at = True, 0.0
        while not self._stop.is_set():
            self._look_after_clock(is_due)
            wait_s = period_s
            if is_due and time.monotonic() >= write_at:
                self._write_status()
                is_due, write_at = False, time.monotonic() + STATUS_PERIOD_S_MIN
            elif is_due:
                wait_s = min(period_s, write_at - time.monotonic())
            is_due |= self._wake.wait(max(wait_s, 0))
            self._wake.clear()
            if self._reload.is_set():
                self._reload.clear()
                self._take_configuration()
            if self._look_after_stages():
                self._service.alive()
            if time.monotonic() >= log_at:
                log_at, is_due = time.monotonic() + LOG_PERIOD_S, True
                self._log_lines()

    def _look_after_clock(self, is_due: bool) -> None:
        if is_due:
            self._clock.ask_system()
            if self._clock.quality is WallQuality.NTP:
                self._last_seen.note(self._clock.now_ms())
        offset_ms, rough = self._clock.offset_ms, self._clock.rough
        if offset_ms is not None and (is_due or not self._is_mapped):
            self._is_mapped = True
            self._outbox.map_clock(offset_ms)
        elif rough is not None and is_due:
            # Not later than it was, and marked: nobody tells it to the second.
            self._outbox.map_clock(rough.low_ms, TimeQuality.BOUNDED)

    # Stages.

    def _beats(self) -> dict[str, Beat]:
        beats = {_OUTBOX: self._outbox.beat}
        if self._uplink is not None:
            beats[_UPLINK] = self._uplink.beat
        return beats | {f"source {one.name}": one.beat for one in self._sources.values()}

    def _look_after_stages(self) -> bool:
        """Whether every stage made progress; one that hangs is made anew, or the process ends."""
        now_ms, is_well = time.monotonic_ns() // 1_000_000, True
        for stage, beat in self._beats().items():
            care = self._supervisor.judge(stage, beat, now_ms)
            if care is Care.LEAVE:
                continue
            is_well = False
            log.error("stage=%s hangs idle_ms=%d care=%s", stage, now_ms - beat.at_ms, care.name)
            if care is Care.END_PROCESS or not self._restart(stage):
                self._give_up(stage)
        return is_well

    def _restart(self, stage: str) -> bool:
        """Leave the hung thread to itself, put a new one in its place; whether that went."""
        try:
            if stage == _UPLINK:
                assert self._uplink is not None
                self._uplink.abandon()
                self._start_uplink(self._parts.uplink(self._config, self.learn_server_time))
                return True
            name = stage.removeprefix("source ")
            ending = threading.Thread(target=self._sources[name].stop, daemon=True)
            ending.start()
            ending.join(PATIENCE_S)
            self._start_source(self._parts.source(self._config, name))
        except ConfigError:
            log.exception("stage=%s does not start again", stage)
            return False
        return True

    def _give_up(self, stage: str) -> None:
        """End the process, with what waits committed if that is still possible."""
        log.critical("stage=%s hangs; ending the process, so that it is started again", stage)
        self._service.tell(f"STATUS=ended: {stage} hangs")
        closing = threading.Thread(target=self._outbox.close, daemon=True)
        closing.start()
        closing.join(PATIENCE_S)
        self._end_process(HUNG)

    def _start_source(self, source: Source) -> None:
        source.start()
        self._sources[source.name] = source
        self._supervisor.watch(f"source {source.name}", can_restart=True)

    def _stop_source(self, name: str) -> None:
        source = self._sources.pop(name, None)
        if source is not None:
            self._supervisor.forget(f"source {name}")
            source.stop()

    def _start_uplink(self, uplink: Uplink) -> None:
        is_first = self._uplink is None
        uplink.on_change = self._wake.set
        self._outbox.on_commit = uplink.note_commit
        self._uplink = uplink
        if is_first:
            self._supervisor.watch(_UPLINK, can_restart=True)
        uplink.start()

    # Configuration.

    def _take_configuration(self) -> None:
        """Read the file again; a bad one changes nothing, and is said."""
        self._service.reloading()
        try:
            new = load_config(self._config.path)
            change = difference(self._config, new)
            self._apply(new, change)
        except ConfigError as error:
            self._config_fault = str(error)
            log.error("configuration not taken, the old one stays: %s", error)  # noqa: TRY400
        else:
            self._config, self._config_fault = new, ""
            self._config_at_ms = self._clock.now_ms()
            log.info("configuration taken changed=%s", change)
        self._service.ready()

    def _apply(self, new: Config, change: Change) -> None:
        """Everything new is made before anything old is stopped. Raises ConfigError."""
        sources = [self._parts.source(new, name) for name in change.started]
        uplink = self._parts.uplink(new, self.learn_server_time) if change.has_uplink else None
        for name in change.stopped:
            self._stop_source(name)
        try:
            for source in sources:
                self._start_source(source)
        except ConfigError:
            self._go_back(change)
            raise
        if uplink is not None:
            assert self._uplink is not None
            self._uplink.stop()
            self._start_uplink(uplink)
        if change.has_outbox:
            self._parts.reconfigure_outbox(new)

    def _go_back(self, change: Change) -> None:
        for name in change.started:
            self._stop_source(name)
        for name in change.stopped:
            self._start_source(self._parts.source(self._config, name))

    # What others see.

    def _write_status(self) -> None:
        draft = self._status_file.with_suffix(".tmp")
        try:
            draft.write_text(json.dumps(self.status()), encoding="utf-8")
            draft.replace(self._status_file)
        except OSError as error:
            log.warning("status file: %s", error)

    def _log_lines(self) -> None:
        assert self._uplink is not None
        outbox = self._outbox
        waiting = sum(lane.unsettled.total for lane in outbox.view().lanes)
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
        for source in self._sources.values():
            log.info("source=%s %s", source.name, _pairs(source.state()))


def _pairs(state: Mapping[str, str | int | None]) -> str:
    return " ".join(f"{key}={value!r}" for key, value in state.items() if value not in (0, None))
