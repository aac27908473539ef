"""Liveness, readiness, metrics: outside the prefix, for machines."""

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from greenhaul_cloud.api.context import Context
from greenhaul_protocols.errors import Unavailable

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", response_model=None)
def readyz(context: Context) -> JSONResponse:
    """Whether store and broker answer; 503 names what does not."""
    faults: dict[str, str] = {}
    try:
        context.store.ping()
    except Unavailable:
        faults["store"] = "does not answer"
    for name, fault_of in context.readiness.items():
        fault = fault_of()
        if fault is not None:
            faults[name] = fault
    if faults:
        body = {"status": "not ready", "faults": faults}
        return JSONResponse(body, HTTPStatus.SERVICE_UNAVAILABLE)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=Response)
def metrics(context: Context) -> Response:
    """Prometheus text."""
    return Response(generate_latest(context.registry), media_type=CONTENT_TYPE_LATEST)
