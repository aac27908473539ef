"""The long-running parts put together: collector, API, or both in one process."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from anyio.to_thread import run_sync
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from greenhaul_cloud.api.app import create_app, create_health_app
from greenhaul_cloud.api.context import ApiContext, ReadinessCheck
from greenhaul_cloud.clock import system_now_ms
from greenhaul_cloud.config import BrokerConfig, CloudConfig
from greenhaul_cloud.derive.worker import DeriveWorker
from greenhaul_cloud.housekeeping.retention import Retention
from greenhaul_cloud.housekeeping.worker import HousekeepingWorker
from greenhaul_cloud.intake.service import Intake, client_id_of
from greenhaul_cloud.intake.wire import BrokerAddress
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_protocols.errors import ConfigError

log = logging.getLogger(__name__)

# What is being answered gets this long to end; streams end at once.
DRAIN_S = 5
# How often a start that waits for the broker looks whether it should stop.
_LOOK_S = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Service:
    """Collector, fold and API of one store, each if wanted."""

    def __init__(self, config: CloudConfig, store: Store) -> None:
        self._config, self._store = config, store
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._intake: Intake | None = None
        self._derive: DeriveWorker | None = None
        self._housekeeping: HousekeepingWorker | None = None

    def start_fold(self, *, is_alone: bool) -> None:
        """Folds, in a thread of its own. is_alone: no intake is beside it."""
        self._derive = DeriveWorker(
            self._store,
            self._registry,
            calendar=self._config.derive.calendar,
            is_alone=is_alone,
        )
        self._derive.start()

    def start_collector(self) -> None:
        """Takes blocks from the broker, in threads of their own; wakes the fold if it is here."""
        address = broker_address(self._config.broker, self._store.store_id)
        on_stored = self._derive.wake if self._derive else lambda: None
        self._intake = Intake(self._store, address, self._registry, on_stored=on_stored)
        days = self._config.retention.days(self._config.store.retention_days)
        retention = Retention(days, quarantine=days.pop("quarantine"))
        self._housekeeping = HousekeepingWorker(self._store, retention, self._registry)
        self._intake.start()
        self._housekeeping.start()

    def stop(self) -> None:
        """Stores and folds what is at hand; the rest was never acknowledged."""
        if self._housekeeping:
            self._housekeeping.stop()
        if self._intake:
            self._intake.stop()
        if self._derive:
            self._derive.stop()

    @property
    def readiness(self) -> dict[str, ReadinessCheck]:
        """By name, what this process needs beside the store's answer, and why it has it not."""
        checks: dict[str, ReadinessCheck] = {}
        if intake := self._intake:
            checks |= {"broker": lambda: intake.broker_fault, "intake": lambda: intake.store_fault}
        if derive := self._derive:
            checks["derive"] = lambda: derive.fault
        return checks

    async def serve(
        self, listener: socket.socket, ready_file: Path | None, *, has_api: bool
    ) -> None:
        """Answers HTTP until a signal; open streams end, open requests are answered."""
        context = ApiContext.of(self._store, self._config, self._registry, readiness=self.readiness)
        server = _Server(
            uvicorn.Config(
                create_app(context) if has_api else create_health_app(context),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        stopping = asyncio.Event()

        def stop() -> None:
            stopping.set()
            context.hub.stop()
            server.should_exit = True

        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        told = {"api": url if has_api else None, "metrics": f"{url}/metrics"}
        with _on_signals(stop):
            announcing = asyncio.create_task(
                self._announce(ready_file, told, stopping, server.begun)
            )
            await server.serve(sockets=[listener])
            stopping.set()
            server.begun.set()
            await announcing

    async def _announce(
        self,
        ready_file: Path | None,
        told: dict[str, str | None],
        stopping: asyncio.Event,
        begun: asyncio.Event,
    ) -> None:
        """Says that all is up once it is: HTTP is answered, the broker is connected."""
        await begun.wait()
        while self._intake and not stopping.is_set():
            if await run_sync(self._intake.wait_connected, _LOOK_S):
                break
        if stopping.is_set():
            return
        # A full garbage collection stops every thread while it walks all there is: what was loaded
        # until now, some hundred thousand objects, stays anyhow and is walked no more.
        gc.freeze()
        log.info("event=ready api=%s metrics=%s", told["api"], told["metrics"])
        if ready_file:
            await run_sync(_write_whole, ready_file, json.dumps(told) + "\n")


class _Server(uvicorn.Server):
    """uvicorn that leaves signals to us and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not here: uvicorn would raise them again once it has ended, before we have."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; then `begun`."""
        await super().startup(sockets)
        self.begun.set()


def run(
    config: CloudConfig, *, has_collector: bool, has_api: bool, folds: bool, ready_file: Path | None
) -> None:
    """Runs until SIGTERM or SIGINT. Raises ConfigError, Unavailable when it cannot start."""
    if ready_file:
        ready_file.unlink(missing_ok=True)
    listener = listen(config) if has_api else listen_beside(config)
    try:
        store = open_store(config.store.full_url, system_now_ms(), timezone=config.derive.timezone)
        service = Service(config, store)
        try:
            if folds:
                service.start_fold(is_alone=not has_collector)
            if has_collector:
                service.start_collector()
            asyncio.run(service.serve(listener, ready_file, has_api=has_api))
        finally:
            service.stop()
            store.close()
    finally:
        listener.close()
        if ready_file:
            ready_file.unlink(missing_ok=True)
    log.info("event=stopped")


def listen(config: CloudConfig) -> socket.socket:
    """The API's socket, so that a busy port is known before anything else starts."""
    return _listen(config.api.address, "api.listen")


def listen_beside(config: CloudConfig) -> socket.socket:
    """The socket of a part without API; another one on this machine may have the port already."""
    host, port = config.collector.address
    try:
        return _listen((host, port), "collector.listen")
    except ConfigError as error:
        if config.collector.is_chosen:
            raise
        listener = _listen((host, 0), "collector.listen")
        log.warning("event=port_taken error=%s port=%d", error, listener.getsockname()[1])
        return listener


def _listen(address: tuple[str, int], setting: str) -> socket.socket:
    host, port = address
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # a restart must not wait for the old connections' last minutes
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # connections have it from here: asyncio sets it only where the protocol is named, and
        # without it a small answer's body waits 40 ms for its head to be acknowledged
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        # at once: two that start together may both bind, and only one can listen
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(f"{setting}: {host}:{port}: {error.strerror or error}") from error
    return listener


def broker_address(config: BrokerConfig, store_id: int) -> BrokerAddress:
    """The broker as the intake wants to know it."""
    return BrokerAddress(
        host=config.host,
        port=config.port,
        client_id=client_id_of(store_id),
        username=config.username,
        password=config.password.get_secret_value() if config.password else None,
        tls=config.tls,
        ca_file=config.ca_file,
        shards=config.shard_range,
    )


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _write_whole(path: Path, text: str) -> None:
    """Who waits for the file never reads half of it."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
