"""Every error as `application/problem+json` (RFC 9457)."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from greenhaul_protocols.errors import Rejected, Unavailable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# Enough to mend a form; a body of a thousand mistakes is not answered with a thousand lines.
FAULTS_MAX = 20
# The store is gone for a restart or a disk's hiccup; sooner would only queue up.
RETRY_AFTER_S = 5


class Problem(Exception):
    """What went wrong, as the answer to a request."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.members = members


class ProblemBody(BaseModel):
    """RFC 9457; `faults` names each wrong part of a request."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"title": "Problem"})

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None


def not_found(what: str, key: object) -> Problem:
    """There is no such thing, or none the caller may see: the two answer alike."""
    return Problem(HTTPStatus.NOT_FOUND, f"no {what} {str(key)[:200]!r}")


def answer(
    status: HTTPStatus,
    detail: str | None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """The response to a problem."""
    body = {"type": "about:blank", "title": status.phrase, "status": int(status)}
    if detail:
        body["detail"] = detail
    return JSONResponse(
        body | dict(members or {}), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def install(app: FastAPI) -> None:
    """Makes every error of the application a problem."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Unavailable, _on_unavailable)
    app.add_exception_handler(Rejected, _on_rejected)
    app.add_exception_handler(Exception, _on_bug)


def _on_problem(_request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return answer(problem.status, problem.detail, problem.headers, problem.members)


def _on_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = None if error.detail == status.phrase else error.detail
    return answer(status, detail, error.headers)


def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [
        {
            "where": ".".join(str(part) for part in fault["loc"]),
            "what": str(fault["msg"]).removeprefix("Value error, "),
        }
        for fault in error.errors()[:FAULTS_MAX]
    ]
    detail = "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults[:3])
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, detail, members={"faults": faults})


def _on_unavailable(request: Request, error: Exception) -> JSONResponse:
    log.warning("event=request_put_off path=%s reason=%s", _path(request), error)
    return answer(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the store does not answer; try again",
        {"Retry-After": str(RETRY_AFTER_S)},
    )


def _on_rejected(request: Request, error: Exception) -> JSONResponse:
    log.warning("event=request_rejected path=%s reason=%s", _path(request), error)
    return answer(HTTPStatus.CONFLICT, "the store refuses this: it contradicts what it holds")


def _on_bug(request: Request, error: Exception) -> JSONResponse:
    log.error("event=request_failed path=%s", _path(request), exc_info=error)
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "our fault; the log has the details")


def _path(request: Request) -> str:
    return ascii(request.url.path[:200])
