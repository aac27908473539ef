"""Liveness, readiness, metrics: outside the prefix, for machines."""

from http import HTTPStatus

from anyio import move_on_after
from anyio.to_thread import run_sync
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from greenhaul_cloud.api.context import ApiContext, Context
from greenhaul_protocols.errors import Unavailable

router = APIRouter(tags=["health"])

# Less than probes wait: a balancer should read why, not time out.
PING_S_MAX = 2.0


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", response_model=None)
async def readyz(context: Context) -> JSONResponse:
    """Whether this process can do its work: store, broker, what it stores and folds.

    503 names what cannot. Answers within PING_S_MAX even while the database hangs.
    """
    faults = {name: fault for name, check in context.readiness.items() if (fault := check())}
    if not await _store_answers(context):
        faults["store"] = "does not answer"
    if faults:
        body = {"status": "not ready", "faults": faults}
        return JSONResponse(body, HTTPStatus.SERVICE_UNAVAILABLE)
    return JSONResponse({"status": "ready"})


async def _store_answers(context: ApiContext) -> bool:
    with move_on_after(PING_S_MAX):
        try:
            # in threads of its own: those of requests may all wait for the same database
            await run_sync(context.store.ping, abandon_on_cancel=True, limiter=context.pings)
        except Unavailable:
            return False
        return True
    return False


@router.get("/metrics", response_class=Response)
def metrics(context: Context) -> Response:
    """Prometheus text."""
    return Response(generate_latest(context.registry), media_type=CONTENT_TYPE_LATEST)
