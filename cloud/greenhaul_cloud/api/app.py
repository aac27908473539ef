"""The application: routers, guards and errors put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from greenhaul_cloud.api import (
    calendars,
    console,
    days,
    enterprises,
    events,
    fences,
    findings,
    fleets,
    gateways,
    health,
    live,
    motion,
    positions,
    presence,
    problems,
    readings,
    reference,
    sessions,
    sources,
    tracks,
    users,
    vehicles,
)
from greenhaul_cloud.api.context import ApiContext
from greenhaul_cloud.api.measure import RequestCounter
from greenhaul_cloud.api.parameters import refuse_unknown_parameters
from greenhaul_cloud.api.security import BodyLimit, SecurityHeaders, content_policy

PREFIX = "/api/v1"

_ROUTERS: tuple[APIRouter, ...] = (
    sessions.router,
    users.router,
    enterprises.router,
    fleets.router,
    vehicles.router,
    tracks.router,
    readings.router,
    sources.router,
    gateways.router,
    days.router,
    positions.router,
    fences.router,
    findings.router,
    presence.router,
    motion.router,
    events.router,
    calendars.router,
    live.router,
    console.router,
)
_DESCRIPTION = (
    "Fleets, tracks, fences and their violations. Send a bearer token of `POST /tokens`. "
    "Times are RFC 3339, coordinates WGS-84 degrees, keys carry their units. "
    "Lists are pages: `?limit=`, and `next` of one page as `?cursor=` of the following. "
    "Errors are application/problem+json."
)


def create_app(context: ApiContext) -> FastAPI:
    """The API of a store; its live stream runs while the application does."""
    app = FastAPI(
        title="greenhaul",
        version=version("greenhaul"),
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        generate_unique_id_function=_operation_id,
        responses={
            "4XX": {
                "description": "It cannot be done; `detail` says why",
                "content": {
                    problems.MEDIA_TYPE: {"schema": problems.ProblemBody.model_json_schema()}
                },
            }
        },
        redirect_slashes=False,
    )
    app.state.context = context
    problems.install(app)
    for router in _ROUTERS:
        app.include_router(router, prefix=PREFIX, dependencies=[Depends(refuse_unknown_parameters)])
    app.include_router(health.router)
    app.include_router(reference.router)
    app.router.default = console.ConsoleFiles(console.CONSOLE_FOLDER)
    app.add_middleware(BodyLimit)
    app.add_middleware(
        SecurityHeaders,
        policy=content_policy(context.config.console.tile_url),
        is_https=context.config.api.is_https,
    )
    app.add_middleware(RequestCounter, registry=context.registry)
    return app


def create_health_app(context: ApiContext) -> FastAPI:
    """Health and metrics alone, of a process that has no API."""
    app = FastAPI(title="greenhaul", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.context = context
    problems.install(app)
    app.include_router(health.router)
    app.add_middleware(BodyLimit)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: ApiContext = app.state.context
    current_default_thread_limiter().total_tokens = context.config.api.threads
    looking = asyncio.create_task(context.hub.run())
    try:
        yield
    finally:
        context.hub.stop()
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
