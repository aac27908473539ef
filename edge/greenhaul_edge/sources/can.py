"""A CAN bus, listened to: signals by DBC and mapping file, readings at a cadence, events."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import can

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import CanSettings
from greenhaul_edge.outbox.chunks import Priority
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.can_interface import filters_of, kernel_losses, narrow, open_bus
from greenhaul_edge.sources.can_mapping import load_mapping
from greenhaul_edge.sources.can_pace import CanPace, mapped
from greenhaul_edge.sources.can_poll import Frame, PollCounts, Poller
from greenhaul_edge.sources.can_state import CanState
from greenhaul_edge.supervision import Beat
from greenhaul_protocols.catalogue import Event, Reading
from greenhaul_protocols.errors import ConfigError

log = logging.getLogger(__name__)

_READ_TIMEOUT_S = 0.2
# A bus that was off or down is to be heard within five seconds.
_REOPEN_S_MIN, _REOPEN_S_MAX = 0.1, 2.0
# A signal not heard for so many cadences is left out of the reading.
_CADENCES_KEPT = 3
# A kernel's receive time this far from now is of another clock.
_STAMP_ERROR_MS_MAX = 60_000
# Classes of error frames, and what the second byte of the controller's tells (linux/can/error.h).
_ERROR_CONTROLLER, _ERROR_BUS_OFF, _ERROR_RESTARTED = 0x04, 0x40, 0x100
_CONTROLLER_STATES = ((0x30, "error-passive"), (0x0C, "error-warning"), (0x40, "error-active"))
_TURN_MS = 100
_SEND_TIMEOUT_S = 0.2
# A bus is heard whole for so long, and until something mapped came: `doctor` holds its ids against
# the DBC files. Then the kernel is told to keep back the rest.
_SURVEY_MS = 10_000
# Names of messages or fields in one figure of `state`.
_NAMES_MAX = 8


@dataclass(slots=True)
class BusCounts:
    """How the bus fared."""

    opened: int = 0
    lost: int = 0
    refused: int = 0  # readings the outbox did not take
    error_frames: int = 0
    remote_frames: int = 0
    garbled: int = 0  # lines of a serial adapter that are no frame
    bus_off: int = 0
    kernel_dropped: int = 0  # frames that driver, kernel or socket lost since it was opened first
    unsent: int = 0  # requests the bus did not take


class CanSource:
    """Reads one bus in its own thread. Writes to it only what `polling` allows.

    Readings are stamped by the gateway's clock; until it is mapped to UTC they wait in the outbox.
    """

    def __init__(self, name: str, settings: CanSettings, outbox: Outbox, clock: Clock) -> None:
        self.name, self._settings, self._outbox, self._clock = name, settings, outbox, clock
        self.beat = Beat()
        self._mapping = load_mapping(settings.mapping)
        if settings.polling and not self._mapping.requests:
            raise ConfigError(f"{self._mapping.path}: polling = true, but it has no [[requests]]")
        self._poller: Poller | None = None
        cadence_ms = round(settings.cadence_s * 1000)
        source = f"{outbox.gateway}/{name}"
        self._can_state = CanState(self._mapping, source, _CADENCES_KEPT * cadence_ms)
        self._pace = CanPace(self._can_state, source, cadence_ms)
        self._stop = threading.Event()
        self._bus_counts = BusCounts()
        self._losses_before: int | None = None
        self._socket_losses_before = 0
        self._link, self._bus_state = "not open yet", "unknown"
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self) -> None:
        """Begin; the bus may come later."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the bus."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def state(self) -> Mapping[str, str | int]:
        """Bus and counters."""
        self._count_losses()
        about: dict[str, str | int] = {"channel": self._settings.channel, "link": self._link}
        now_ms = self._clock.monotonic_ms()
        about["transport"] = self._mapping.settings.transport
        about["never_heard"] = _some(self._can_state.never_heard())
        about["stale"] = _some(self._can_state.stale_fields(now_ms))
        unknown, known = set(self._can_state.unknown_ids), len(self._can_state.known_ids)
        about["ids_known"], about["ids_unknown"] = known, len(unknown)
        about["unknown_ids"] = _some([f"{one:X}" for one, _ in sorted(unknown)])
        about["bus_state"] = self._bus_state
        poller = self._poller
        if poller is not None:
            about["polling"] = "held off" if poller.is_held_off(now_ms) else "asking"
            about |= asdict(poller.counts)
        return about | asdict(self._bus_counts) | asdict(self._can_state.counts)

    def _run(self) -> None:
        delay_s = _REOPEN_S_MIN
        while not self._stop.is_set():
            before = self._can_state.counts.frames
            try:
                self._listen()
            except (can.CanError, OSError, ValueError) as error:
                self._link = f"gone: {error}"[:200]
                log.info("source=%s %s", self.name, self._link)
                self._bus_counts.lost += 1
            except Exception:
                log.exception("source=%s failed; opening again", self.name)
            was_heard = self._can_state.counts.frames > before
            delay_s = _REOPEN_S_MIN if was_heard else min(2 * delay_s, _REOPEN_S_MAX)
            self.beat.note()
            self._stop.wait(delay_s)

    def _listen(self) -> None:
        with open_bus(self._settings) as bus:
            self._bus_counts.opened += 1
            self._link, self._bus_state = "open", "error-active"
            self._count_losses()
            self._socket_losses_before = 0
            opened_ms, turn_ms, is_narrow = self._clock.monotonic_ms(), 0, False
            if self._settings.polling:
                counts = self._poller.counts if self._poller else PollCounts()
                self._poller = Poller(self._mapping.requests, opened_ms, counts)
            while not self._stop.is_set():
                message = self._hear(bus)
                now_ms = self._clock.monotonic_ms()
                if message is not None:
                    self._take(bus, message, now_ms)
                if now_ms >= turn_ms:
                    turn_ms = now_ms + _TURN_MS
                    self.beat.note()
                    self._count_socket_losses(bus)
                    if (
                        not is_narrow
                        and now_ms - opened_ms > _SURVEY_MS
                        and self._can_state.heard_ms
                    ):
                        is_narrow = True
                        self._narrow(bus)
                    self._ask(bus, now_ms)
                    self._deliver(list(self._pace.turn(now_ms, self._clock.now_ms())))

    def _hear(self, bus: can.BusABC) -> can.Message | None:
        """The next frame, if there is one. What a serial adapter garbles is counted."""
        try:
            message = bus.recv(_READ_TIMEOUT_S)
        except (ValueError, IndexError):
            self._bus_counts.garbled += 1
            return None
        return message

    def _take(self, bus: can.BusABC, message: can.Message, now_ms: int) -> None:
        if message.is_error_frame:
            self._bus_counts.error_frames += 1
            self._bus_state = controller_state(message) or self._bus_state
            if message.arbitration_id & _ERROR_BUS_OFF:
                self._bus_counts.bus_off += 1
                # Opening anew resets an adapter; SocketCAN's restart is the kernel's (restart-ms).
                raise can.CanOperationError("bus off")
        elif message.is_remote_frame:
            self._bus_counts.remote_frames += 1
        elif message.is_rx:
            self._answer(bus, message, now_ms)
            # The kernel says when a frame came, by the system's clock; we may be late to read it.
            late_ms = round(time.time() * 1000 - message.timestamp * 1000)
            at_ms = now_ms - late_ms if 0 <= late_ms <= _STAMP_ERROR_MS_MAX else now_ms
            self._can_state.take(
                message.arbitration_id, message.is_extended_id, bytes(message.data), at_ms
            )

    def _narrow(self, bus: can.BusABC) -> None:
        narrow(self._settings, bus, filters_of(self._mapping, is_polling=self._settings.polling))

    def _ask(self, bus: can.BusABC, now_ms: int) -> None:
        if self._poller is not None:
            self._send(bus, self._poller.turn(now_ms))

    def _answer(self, bus: can.BusABC, message: can.Message, now_ms: int) -> None:
        if self._poller is not None:
            heard = message.arbitration_id, message.is_extended_id, bytes(message.data)
            self._send(bus, self._poller.take(*heard, now_ms))

    def _send(self, bus: can.BusABC, frame: Frame | None) -> None:
        if frame is None:
            return
        try:
            bus.send(
                can.Message(
                    arbitration_id=frame.frame_id,
                    is_extended_id=frame.is_extended,
                    data=frame.data,
                ),
                _SEND_TIMEOUT_S,
            )
        except can.CanError as error:
            # Reading goes on, and notices a lost bus; an unanswered request is asked less often.
            self._bus_counts.unsent += 1
            log.info("source=%s not sent: %s", self.name, error)

    def _deliver(self, readings: list[Reading]) -> None:
        if not readings:
            return
        offset_ms = self._clock.offset_ms
        done = self._outbox.append(
            readings if offset_ms is None else mapped(readings, offset_ms),
            priority=Priority.EVICTABLE,
            is_urgent=any(isinstance(one, Event) for one in readings),
            is_alarm=self._pace.has_alarm,
            is_unclocked=offset_ms is None,
        )
        if done.done() and done.exception() is not None:
            self._bus_counts.refused += len(readings)

    def _count_socket_losses(self, bus: can.BusABC) -> None:
        """What a SocketCAN socket says it had no room for."""
        losses = int(getattr(bus, "dropped", 0))
        self._bus_counts.kernel_dropped += losses - self._socket_losses_before
        self._socket_losses_before = losses

    def _count_losses(self) -> None:
        losses = kernel_losses(self._settings.channel)
        if losses is None:
            return
        if self._losses_before is None or losses < self._losses_before:
            self._losses_before = losses  # a new interface counts from nought
        self._bus_counts.kernel_dropped += losses - self._losses_before
        self._losses_before = losses


def controller_state(message: can.Message) -> str | None:
    """What an error frame says of the controller (linux/can/error.h); None: of something else."""
    classes = message.arbitration_id
    if classes & _ERROR_BUS_OFF:
        return "bus-off"
    if classes & _ERROR_RESTARTED:
        return "error-active"
    if classes & _ERROR_CONTROLLER and len(message.data) > 1:
        about = message.data[1]
        return next((state for bits, state in _CONTROLLER_STATES if about & bits), None)
    return None


def _some(names: list[str]) -> str:
    """The first few of a list, and how many there are."""
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return ", ".join(names[:_NAMES_MAX]) + more
