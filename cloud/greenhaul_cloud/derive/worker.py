"""The derive thread: woken after commits, and by the clock for what is due."""

import logging
import random
import threading
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from greenhaul_cloud.derive.runner import Deriver, DeriveResult
from greenhaul_cloud.store.engine import Store
from greenhaul_protocols.errors import Unavailable

log = logging.getLogger(__name__)

# Marks may come from other processes (an API beside us), and deadlines by the clock alone.
LOOK_EVERY_S = 1.0
# Alone in a process it is never woken.
LOOK_ALONE_EVERY_S = 0.2
BACKOFF_S_MAX = 10.0
# Beside an intake the fold rests after a turn as long as the turn took: the intake has its half of
# the interpreter, and marks widen meanwhile, so that a vehicle that reports every second is folded
# the more at a time the busier it is.
REST_S_MIN, REST_S_MAX = 0.1, 5.0


class DeriveCounters:
    """Counters of the fold in a registry of the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.folds = Counter(
            "greenhaul_derive_folds", "Vehicles folded", ["result"], registry=registry
        )
        self.changes = Counter(
            "greenhaul_derive_changes", "Visits and violations told anew", registry=registry
        )
        self.readings = Counter(
            "greenhaul_derive_readings", "Readings loaded to fold", registry=registry
        )
        self.turn_s = Histogram(
            "greenhaul_derive_turn_seconds", "One turn over marked vehicles", registry=registry
        )
        self.marked = Gauge(
            "greenhaul_derive_marked_vehicles",
            "Vehicles that waited to be folded when the last turn began",
            registry=registry,
        )
        self.set_aside = Gauge(
            "greenhaul_derive_set_aside_vehicles",
            "Vehicles left out since their fold raised",
            registry=registry,
        )
        self.lag_s = Gauge(
            "greenhaul_derive_lag_seconds",
            "For how long the vehicle that has waited longest waits to be folded",
            registry=registry,
        )
        self.last_turn = Gauge(
            "greenhaul_derive_last_turn_timestamp_seconds",
            "When the last turn ended well",
            registry=registry,
        )

    def count(self, result: DeriveResult) -> None:
        """Add one turn."""
        self.folds.labels("done").inc(result.folded)
        self.folds.labels("failed").inc(result.failed)
        self.changes.inc(result.changed)
        self.readings.inc(result.readings_read)
        self.marked.set(result.marked)
        self.set_aside.set(result.set_aside)
        self.last_turn.set_to_current_time()


class DeriveWorker:
    """Folds in a thread of its own; never stands in the way of the intake."""

    def __init__(
        self,
        store: Store,
        registry: CollectorRegistry,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        on_changed: Callable[[], None] = lambda: None,
        *,
        calendar: str = "CN",
        is_alone: bool = False,
    ) -> None:
        """on_changed: called after a turn that told something new. is_alone: nothing else in this
        process is in a hurry."""
        self._deriver = Deriver(store, calendar=calendar)
        self._counters = DeriveCounters(registry)
        self._counters.lag_s.set_function(self._lag_s)
        self._now_ms, self._on_changed, self._is_alone = now_ms, on_changed, is_alone
        self._fault: str | None = None
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="derive", daemon=True)

    @property
    def fault(self) -> str | None:
        """Why nothing is folded just now; a vehicle that is set aside is no fault of this kind."""
        return self._fault

    def _lag_s(self) -> float:
        since_ms = self._deriver.waiting_since_ms
        return 0.0 if since_ms is None else max(self._now_ms() - since_ms, 0) / 1000

    def start(self) -> None:
        """Begin folding."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to fold; may be called from any thread, and often."""
        self._woken.set()

    def stop(self) -> None:
        """Finish the vehicles at hand and end."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        backoff_s = LOOK_EVERY_S
        while not self._stopping.is_set():
            self._woken.clear()
            begun_s = time.monotonic()
            try:
                with self._counters.turn_s.time():
                    result = self._deriver.run(self._now_ms(), self._stopping.is_set)
                self._fault = None
                self._counters.count(result)
                if result.changed:
                    self._on_changed()
                backoff_s = LOOK_EVERY_S
                if not self._is_alone:
                    took_s = time.monotonic() - begun_s
                    self._stopping.wait(min(max(took_s, REST_S_MIN), REST_S_MAX))
                if not result.has_more:
                    self._woken.wait(LOOK_ALONE_EVERY_S if self._is_alone else LOOK_EVERY_S)
            except Unavailable as error:
                log.warning("event=store_unavailable error=%s", error)
                backoff_s = self._back_off(backoff_s)
            except Exception:
                log.exception("event=derive_turn_failed")
                backoff_s = self._back_off(backoff_s)

    def _back_off(self, backoff_s: float) -> float:
        self._fault = "cannot fold: see the log"
        self._stopping.wait(backoff_s)
        # decorrelated jitter: collectors do not come back all at once
        return min(BACKOFF_S_MAX, random.uniform(LOOK_EVERY_S, 3 * backoff_s))
