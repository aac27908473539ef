"""The housekeeping thread: retention once an hour, whatever else goes on."""

import logging
import random
import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from greenhaul_cloud.clock import system_now_ms
from greenhaul_cloud.housekeeping.retention import Retention, announce, leaps, retain
from greenhaul_cloud.store.engine import Store
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.times import format_time

log = logging.getLogger(__name__)

EVERY_S = 3600.0
# A start is busy enough without it.
FIRST_AFTER_S = 60.0
RETRY_S = 300.0


class HousekeepingWorker:
    """Several collectors may have one each on the same store."""

    def __init__(
        self,
        store: Store,
        retention: Retention,
        registry: CollectorRegistry,
        now_ms: Callable[[], int] = system_now_ms,
    ) -> None:
        self._store, self._retention, self._now_ms = store, retention, now_ms
        self._deleted = Counter(
            "greenhaul_retention_deleted_rows",
            "Rows deleted since they were kept long enough",
            ["subject"],
            registry=registry,
        )
        self._last_run = Gauge(
            "greenhaul_retention_last_run_timestamp_seconds",
            "When retention last ended well",
            registry=registry,
        )
        self._is_announced = self._has_leapt = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the run at hand stops where the process does, and the next goes on."""
        self._stopping.set()

    def run_once(self) -> None:
        """One run. Raises Unavailable.

        One that would take far more than the time since the last is put off once: a clock that
        leapt is usually right again by the next.
        """
        if not self._is_announced:
            announce(self._store, self._retention)
            self._is_announced = True
        now_ms = self._now_ms()
        is_leap = leaps(self._store, self._retention, now_ms)
        if is_leap and not self._has_leapt:
            self._has_leapt = True
            log.warning("event=retention_leap now=%s action=put_off_once", format_time(now_ms))
            return
        self._has_leapt = False
        gone = retain(self._store, self._retention, now_ms)
        for subject, count in gone.items():
            self._deleted.labels(subject).inc(count)
        if gone:
            told = " ".join(f"{subject}={count}" for subject, count in gone.items())
            log.info("event=retention_deleted %s", told)
        self._last_run.set_to_current_time()

    def _run(self) -> None:
        wait_s = FIRST_AFTER_S
        # collectors started together need not delete together
        while not self._stopping.wait(wait_s * random.uniform(1.0, 1.2)):
            wait_s = EVERY_S
            try:
                self.run_once()
            except Unavailable as error:
                log.warning("event=retention_put_off error=%s", error)
                wait_s = RETRY_S
            except Exception:
                log.exception("event=retention_failed")
                wait_s = RETRY_S
