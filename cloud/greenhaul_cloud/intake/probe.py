"""Finds out whether the broker takes us, by a connection that leaves nothing there."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from greenhaul_cloud.intake.wire import (
    ANSWER_S_MAX,
    BrokerAddress,
    make_client,
    open_connection,
    other_version,
)
from greenhaul_cloud.intake.worker import LOG_EVERY_S

log = logging.getLogger(__name__)

# Between two attempts: a broker that comes back is found soon, and one that is away not asked all
# the time.
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 5.0
# A broker that takes the probe but no session (by rules on client ids, say) would have us take
# shards from others for nothing, again and again.
MISLED_S = 60.0
# Waiting for a machine that does not answer holds up a stop for so long.
_CONNECT_S_MAX = 3.0


class BrokerProbe:
    """Connects as a session would, subscribes as it would, and goes."""

    def __init__(
        self, address: BrokerAddress, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        first, _ = address.shards
        self._address = replace(
            address,
            client_id=f"{address.client_id}-probe-{token_hex(4)}",
            shards=(first, first),
            hears_state=False,
            is_lasting=False,
        )
        self.version = address.version
        self._monotonic_s = monotonic_s
        self._backoff_s = BACKOFF_S_MIN
        self._not_before_s = monotonic_s()
        self._complained_s = -LOG_EVERY_S

    def reaches(self) -> bool:
        """Whether the broker takes us just now; then `version` is one it speaks.

        Takes some seconds when it does not answer; False at once while the next attempt is not due.
        """
        if self._monotonic_s() < self._not_before_s:
            return False
        fault = self._attempt(self.version)
        if fault is None:
            self._backoff_s = BACKOFF_S_MIN
            return True
        if self._monotonic_s() - self._complained_s >= LOG_EVERY_S:
            self._complained_s = self._monotonic_s()
            log.warning("event=broker_not_reached host=%s error=%s", self._address.host, fault)
        # decorrelated jitter: collectors do not come back all at once
        upper_s = min(BACKOFF_S_MAX, 3 * self._backoff_s)
        self._backoff_s = random.uniform(BACKOFF_S_MIN, upper_s)
        self._not_before_s = self._monotonic_s() + self._backoff_s
        return False

    def was_misled(self) -> None:
        """It was reached, but the sessions were not let in: others should have the shards."""
        self._not_before_s = self._monotonic_s() + MISLED_S

    def _attempt(self, version: MQTTProtocolVersion) -> str | None:
        """One connection; why it came to nothing."""
        answer = _Answer(self._address.filters[0])
        try:
            client = make_client(self._address, version)
            client.connect_timeout = _CONNECT_S_MAX
            client.on_connect = answer.on_connect
            client.on_subscribe = answer.on_subscribe
            client.on_disconnect = answer.on_disconnect
            try:
                open_connection(client, self._address, version)
                client.loop_start()
                if not answer.came.wait(ANSWER_S_MAX):
                    answer.give("no answer", is_about_version=True)
            finally:
                client.disconnect()
                client.loop_stop()
        except (OSError, ValueError) as error:  # of the network, of certificates, of a host's name
            return str(error)
        if answer.is_about_version:
            self.version = other_version(version)
        return answer.fault


class _Answer:
    """What the broker says first: yes, no, or nothing at all. Called back from paho's thread."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.came = threading.Event()
        self.fault: str | None = None
        self.is_about_version = False

    def give(self, fault: str | None, *, is_about_version: bool = False) -> None:
        """The first one counts."""
        if not self.came.is_set():
            self.fault, self.is_about_version = fault, is_about_version
            self.came.set()

    def on_connect(
        self, client: Client, _userdata: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        """Let in, or not."""
        if reason.is_failure:
            self.give(str(reason), is_about_version="version" in str(reason).lower())
        else:
            client.subscribe(self._pattern, 0)

    def on_subscribe(
        self, _client: Client, _userdata: Any, _mid: int, reasons: list[ReasonCode], _props: Any
    ) -> None:
        """Given what we ask for, or not."""
        self.give(next((str(one) for one in reasons if one.is_failure), None))

    def on_disconnect(
        self, _client: Client, _userdata: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        """Brokers that know only 3.1.1 often hang up on 5.0 without a word."""
        self.give(str(reason), is_about_version=True)
