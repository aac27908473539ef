"""Signing in to the console: a cookie, and a CSRF token beside it."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import StringConstraints

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import (
    COOKIE,
    Caller,
    SessionCookie,
    identify,
    principal_of,
)
from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.api.shapes import Shape, Wish
from greenhaul_cloud.auth.passwords import PASSWORD_LENGTH_MAX, is_password
from greenhaul_cloud.auth.principal import Principal, Role
from greenhaul_cloud.auth.secrets import csrf_token_of, hash_secret, new_session_key
from greenhaul_cloud.store import accounts

router = APIRouter(tags=["session"])

_MS_PER_HOUR = 3_600_000


class SignIn(Wish):
    """Name and password of a user."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=120)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=PASSWORD_LENGTH_MAX)]


class SignedIn(Shape):
    """The user of a session."""

    name: str
    role: Role
    enterprise_id: str | None


class SessionShape(Shape):
    """A session; `csrf_token` goes into the header X-CSRF-Token of every change."""

    csrf_token: str
    user: SignedIn


@router.post("/session", response_model=SessionShape)
def sign_in(wish: SignIn, request: Request, response: Response, context: Context) -> object:
    """Opens a session; its cookie never shows in a script or a URL."""
    now_ms = context.now_ms()
    address = request.client.host if request.client else "unknown"
    subjects = (f"name:{wish.name}", f"address:{address}")
    wait_s = context.throttle.wait_s(subjects, now_ms)
    if wait_s:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"too many attempts; try again in {wait_s} s",
            headers={"Retry-After": str(wait_s)},
        )
    with context.store.read() as connection:
        user = accounts.find_user(connection, wish.name)
    is_able = user is not None and (user.disabled_at is None or user.disabled_at > now_ms)
    fits = is_password(wish.password, user.password_hash if user is not None else None)
    if user is None or not (fits and is_able):
        raise Problem(HTTPStatus.UNAUTHORIZED, "name or password is wrong")
    for subject in subjects:
        context.throttle.forget(subject)
    key = new_session_key()
    csrf_token = csrf_token_of(key)
    lifetime_ms = round(context.config.api.session_hours * _MS_PER_HOUR)
    with context.store.write() as connection:
        accounts.open_session(
            connection,
            user_id=user.id,
            token_hash=hash_secret(key),
            csrf_hash=hash_secret(csrf_token),
            expires_at_ms=now_ms + lifetime_ms,
            now_ms=now_ms,
        )
    response.set_cookie(
        COOKIE,
        key,
        max_age=lifetime_ms // 1000,
        httponly=True,
        samesite="strict",
        secure=context.config.api.is_https,
        path="/",
    )
    return {"csrf_token": csrf_token, "user": _shown(principal_of(user))}


@router.get("/session", response_model=SessionShape)
def show_session(context: Context, session_key: SessionCookie) -> object:
    """Whose session the cookie is; 401 without one."""
    user = identify(context, None, session_key)
    if user is None or session_key is None:
        raise Problem(HTTPStatus.UNAUTHORIZED, "no session, or it has ended")
    return {"csrf_token": csrf_token_of(session_key), "user": _shown(principal_of(user))}


@router.delete("/session", status_code=HTTPStatus.NO_CONTENT)
def sign_out(
    response: Response, context: Context, _caller: Caller, session_key: SessionCookie
) -> None:
    """Ends the session."""
    if session_key is not None:
        with context.store.write() as connection:
            accounts.close_session(connection, hash_secret(session_key))
    response.delete_cookie(COOKIE, path="/")


def _shown(principal: Principal) -> SignedIn:
    return SignedIn(
        name=principal.name, role=principal.role, enterprise_id=principal.scope.enterprise_id
    )
