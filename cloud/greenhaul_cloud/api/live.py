"""`/live`: server-sent events (HTML standard, section 9.2)."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from http import HTTPStatus
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import RowMapping

from greenhaul_cloud.api.context import ApiContext, Context
from greenhaul_cloud.api.findings import ViolationShape, show_violation
from greenhaul_cloud.api.gateways import GatewayFigures
from greenhaul_cloud.api.guard import BearerHeader, Caller, SessionCookie, identify, principal_of
from greenhaul_cloud.api.hub import ITEMS_MAX, texts_of
from greenhaul_cloud.api.positions import (
    Box,
    BoxQuery,
    Place,
    is_inside,
    place_of,
    write_positions,
)
from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.api.shapes import ROW_ID_MAX
from greenhaul_cloud.auth.principal import Principal
from greenhaul_protocols.errors import Unavailable

router = APIRouter(tags=["live"])

# A stream costs a socket and a task; a city's control rooms have tens of screens.
STREAMS_MAX = 500
# Proxies cut lines silent for 30 s or more.
HEARTBEAT_S = 15.0
# What EventSource waits before it comes back, milliseconds.
RETRY_MS = 2000


class _Watcher:
    """One stream: whom it is for, and how far it has seen."""

    def __init__(
        self, context: ApiContext, principal: Principal, box: Box | None, after: int | None
    ) -> None:
        self._hub = context.hub
        self.principal = principal
        self._box = box
        self._beat = 0
        self._after = after

    def see_anew(self, principal: Principal) -> None:
        """Another scope: everything is news again."""
        self.principal = principal
        self._beat = 0

    async def news(self) -> AsyncIterator[str]:
        """Events for what changed since the last time."""
        hub, scope = self._hub, self.principal.scope
        since, self._beat = self._beat, hub.beat
        is_foreign = since == 0 and self._after is not None and self._after > hub.feed_end
        if self._after is None or is_foreign:
            # a number beyond the feed is of another store (a restored one, say): waiting for
            # ours to reach it would keep violations back
            self._after = hub.feed_end
            yield f"id: {self._after}\n\n"
        positions = [
            entry
            for entry in hub.positions.since(since)
            if scope.admits(entry.value.enterprise_id) and self._sees(place_of(entry.value))
        ]
        for event in _events("positions", texts_of(positions, write_positions)):
            yield event
        while self._after < hub.feed_end:
            before = self._after
            self._after, found = await hub.violations_since(before, scope)
            violations = [row for row in found if self._sees_violation(row)]
            if violations:
                yield _event("violations", map(_show_violation, violations), self._after)
            if self._after == before:
                break
        gateways = hub.gateways.since(since) if scope.is_whole else []
        if gateways and self._box is not None:
            near = self._gateways_near()
            gateways = [entry for entry in gateways if entry.value["id"] in near]
        for event in _events("gateways", texts_of(gateways, _show_gateways)):
            yield event

    def _sees(self, place: Place) -> bool:
        return is_inside(place, self._box)

    def _sees_violation(self, row: RowMapping) -> bool:
        """By its evidence; one without is seen by all, since nobody knows where it was."""
        geometry = (row["evidence"] or {}).get("geometry") or {}
        places = geometry.get("coordinates") or []
        return not places or any(self._sees((place[0], place[1])) for place in places)

    def _gateways_near(self) -> set[str | None]:
        """Gateways that carried the newest position of anybody in the box."""
        entries = self._hub.positions.entries.values()
        return {entry.value.gateway_id for entry in entries if self._sees(place_of(entry.value))}


def _show_violation(row: RowMapping) -> str:
    return ViolationShape.model_validate(show_violation(row)).model_dump_json()


def _show_gateways(several: list[dict[str, Any]]) -> list[str]:
    return [GatewayFigures.model_validate(figures).model_dump_json() for figures in several]


def _events(name: str, items: list[str]) -> Iterator[str]:
    for at in range(0, len(items), ITEMS_MAX):
        yield _event(name, items[at : at + ITEMS_MAX])


def _event(name: str, items: Iterable[str], number: int | None = None) -> str:
    head = "" if number is None else f"id: {number}\n"
    return f'{head}event: {name}\ndata: {{"items":[{",".join(items)}]}}\n\n'


def _resume_point(
    last_event_id: Annotated[str | None, Header(description="Resume violations after it.")] = None,
) -> int | None:
    """The number of Last-Event-ID; what is not ours is as good as none."""
    if last_event_id is None or not last_event_id.isdecimal() or len(last_event_id) > 19:
        return None
    return min(int(last_event_id), ROW_ID_MAX)


@router.get(
    "/live",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": 'Events `positions`, `violations`, `gateways`, each `{"items": []}`',
            "content": {"text/event-stream": {}},
        }
    },
)
async def live(
    request: Request,
    context: Context,
    caller: Caller,
    box: BoxQuery,
    after: Annotated[int | None, Depends(_resume_point)],
    bearer: BearerHeader,
    session_key: SessionCookie,
) -> StreamingResponse:
    """Positions at most once a second, violations as they change, gateways' figures.

    With `bbox`: positions in it, violations seen in it, gateways whose sources are in it.
    """
    if context.hub.watching >= STREAMS_MAX or context.hub.is_stopping:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "too many streams", headers={"Retry-After": "5"}
        )
    watcher = _Watcher(context, caller, box, after)
    token = bearer.credentials if bearer else None
    return StreamingResponse(
        _stream(request, context, watcher, token, session_key),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _stream(
    request: Request,
    context: ApiContext,
    watcher: _Watcher,
    token: str | None,
    session_key: str | None,
) -> AsyncIterator[str]:
    hub, loop = context.hub, asyncio.get_running_loop()
    hub.enter()
    try:
        yield f"retry: {RETRY_MS}\n\n"
        checked_s = loop.time()
        while not await request.is_disconnected():
            is_news = await hub.next_beat(HEARTBEAT_S)
            if hub.is_stopping:
                return
            if loop.time() - checked_s >= HEARTBEAT_S:
                checked_s = loop.time()
                if not await _may_go_on(context, watcher, token, session_key):
                    return
                yield ": still here\n\n"
            if is_news:
                async for event in watcher.news():
                    yield event
    finally:
        hub.leave()


async def _may_go_on(
    context: ApiContext, watcher: _Watcher, token: str | None, session_key: str | None
) -> bool:
    """Whether the caller is still let in, perhaps to see other things than before."""
    try:
        user = await run_sync(identify, context, token, session_key)
    except Unavailable:
        return True  # asked again at the next heartbeat; the store shows nothing meanwhile
    if user is None:
        return False
    principal = principal_of(user)
    if principal != watcher.principal:
        watcher.see_anew(principal)
    return True
