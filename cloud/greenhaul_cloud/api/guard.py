"""Who is asking: bearer tokens, cookie sessions with CSRF tokens, roles."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from sqlalchemy import Row

from greenhaul_cloud.api.context import ApiContext, Context
from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.auth.principal import Principal, Role
from greenhaul_cloud.auth.secrets import hash_secret, is_same
from greenhaul_cloud.store import accounts

COOKIE = "greenhaul_session"
CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_bearer = HTTPBearer(auto_error=False, description="A token of `POST /tokens`.")
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, description=f"The console's session; changes need {CSRF_HEADER}."
)
BearerHeader = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
SessionCookie = Annotated[str | None, Security(_cookie)]


def identify(context: ApiContext, token: str | None, session_key: str | None) -> Row[Any] | None:
    """The user a bearer token, or else a session, belongs to now."""
    now_ms = context.now_ms()
    with context.store.read() as connection:
        if token is not None:
            return accounts.user_of_token(connection, hash_secret(token), now_ms)
        if session_key is not None:
            return accounts.user_of_session(connection, hash_secret(session_key), now_ms)
    return None


def principal_of(user: Row[Any]) -> Principal:
    """The principal of a row of `user`."""
    return Principal(user.id, user.name, Role(user.role), user.enterprise_id)


def caller(
    request: Request, context: Context, bearer: BearerHeader, session_key: SessionCookie
) -> Principal:
    """The signed-in caller of a request; 401 without one, 403 for a change without CSRF token."""
    token = bearer.credentials if bearer else None
    user = identify(context, token, session_key)
    if user is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "sign in, or send a bearer token that is still good",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if token is None and request.method not in SAFE_METHODS:
        csrf_token = request.headers.get(CSRF_HEADER, "")
        if not is_same(hash_secret(csrf_token), user.csrf_hash):
            raise Problem(
                HTTPStatus.FORBIDDEN, f"a change by cookie needs the header {CSRF_HEADER}"
            )
    return principal_of(user)


Caller = Annotated[Principal, Depends(caller)]


def one_of(*roles: Role) -> Callable[[Caller], Principal]:
    """A dependency that lets in callers of these roles; 403 for others."""

    def check(caller: Caller) -> Principal:
        if caller.role not in roles:
            raise Problem(
                HTTPStatus.FORBIDDEN, f"this is for {' or '.join(roles)}; you are {caller.role}"
            )
        return caller

    return check


Admin = Annotated[Principal, Depends(one_of(Role.ADMIN))]
Authority = Annotated[Principal, Depends(one_of(Role.ADMIN, Role.REGULATOR))]
FleetKeeper = Annotated[Principal, Depends(one_of(Role.ADMIN, Role.MANAGER))]
