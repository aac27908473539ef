"""What every endpoint works with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

from anyio import CapacityLimiter
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from greenhaul_cloud.api.hub import Hub
from greenhaul_cloud.auth.throttle import Throttle
from greenhaul_cloud.clock import system_now_ms
from greenhaul_cloud.config import CloudConfig
from greenhaul_cloud.store.engine import Store

# By name, whether a part of this process (the broker's connection) is ready, or why not.
ReadinessCheck = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The store, the settings, the clock, and what is shared by requests."""

    store: Store
    config: CloudConfig
    registry: CollectorRegistry
    hub: Hub
    now_ms: Callable[[], int] = system_now_ms
    throttle: Throttle = field(default_factory=Throttle)
    readiness: dict[str, ReadinessCheck] = field(default_factory=dict)
    # Probes that ask the store at a time: those of a database that hangs pile up no higher.
    pings: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))

    @classmethod
    def of(
        cls,
        store: Store,
        config: CloudConfig,
        registry: CollectorRegistry,
        *,
        now_ms: Callable[[], int] = system_now_ms,
        readiness: dict[str, ReadinessCheck] | None = None,
    ) -> "ApiContext":
        """A context with a hub of its own; counters go into the registry."""
        hub = Hub(store, now_ms, registry)
        return cls(store, config, registry, hub, now_ms, readiness=readiness or {})


def context_of(request: Request) -> ApiContext:
    """The context of the application a request came to."""
    return cast(ApiContext, request.app.state.context)


Context = Annotated[ApiContext, Depends(context_of)]
