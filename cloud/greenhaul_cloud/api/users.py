"""Users, bearer tokens, and the audit."""

from http import HTTPStatus
from typing import Any, Self

from fastapi import APIRouter
from pydantic import SecretStr, model_validator
from sqlalchemy import Connection, RowMapping

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Admin, Caller
from greenhaul_cloud.api.problems import Problem, not_found
from greenhaul_cloud.api.shapes import (
    Id,
    Instant,
    InstantIn,
    Listing,
    Name,
    PageByNumber,
    RowId,
    Shape,
    Wish,
    listing_of,
)
from greenhaul_cloud.auth.passwords import hash_password
from greenhaul_cloud.auth.principal import Role
from greenhaul_cloud.auth.secrets import hash_secret, new_token
from greenhaul_cloud.store import accounts
from greenhaul_cloud.store.registry import find_enterprise
from greenhaul_cloud.store.scope import EVERYTHING

router = APIRouter()


class UserWish(Wish):
    """A user to be; a manager belongs to an enterprise, others to none."""

    name: Name
    password: SecretStr
    role: Role
    enterprise_id: Id | None = None

    @model_validator(mode="after")
    def _fit_role(self) -> Self:
        if (self.role is Role.MANAGER) != (self.enterprise_id is not None):
            raise ValueError("a manager has an enterprise_id, others have none")
        return self


class UserChange(Wish):
    """What to change of a user; every open session ends."""

    password: SecretStr | None = None
    is_disabled: bool | None = None


class UserShape(Shape):
    """A user."""

    id: int
    name: str
    role: Role
    enterprise_id: str | None
    created_at: Instant
    disabled_at: Instant | None


class TokenWish(Wish):
    """A token to be: its name, and until when it is good (null: until revoked)."""

    name: Name
    expires_at: InstantIn | None = None


class TokenShape(Shape):
    """A token, without what would let anybody use it."""

    id: int
    name: str
    user_name: str
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None


class NewToken(Shape):
    """A token, shown this once."""

    id: int
    name: str
    token: str


class AuditShape(Shape):
    """What somebody did."""

    id: int
    at: Instant
    user_name: str
    action: str
    subject: str
    detail: dict[str, Any] | None


@router.get("/users", response_model=Listing[UserShape], tags=["users"])
def list_users(context: Context, _admin: Admin, page: PageByNumber) -> object:
    """Users."""
    with context.store.read() as connection:
        return listing_of(accounts.list_users(connection, page), dict)


@router.post("/users", response_model=UserShape, status_code=HTTPStatus.CREATED, tags=["users"])
def add_user(wish: UserWish, context: Context, admin: Admin) -> object:
    """Enters a user."""
    now_ms = context.now_ms()
    password_hash = _hashed(wish.password)
    with context.store.write() as connection:
        if accounts.find_user(connection, wish.name):
            raise Problem(HTTPStatus.CONFLICT, f"there is a user {wish.name!r} already")
        if wish.enterprise_id is not None:
            _require_enterprise(connection, wish.enterprise_id)
        user_id = accounts.add_user(
            connection,
            name=wish.name,
            password_hash=password_hash,
            role=wish.role,
            enterprise_id=wish.enterprise_id,
            now_ms=now_ms,
        )
        detail = {"role": wish.role, "enterprise_id": wish.enterprise_id}
        accounts.record(connection, now_ms, admin.name, "user.add", wish.name, detail)
    return wish.model_dump(exclude={"password"}) | {
        "id": user_id,
        "created_at": now_ms,
        "disabled_at": None,
    }


@router.patch("/users/{user_id}", status_code=HTTPStatus.NO_CONTENT, tags=["users"])
def change_user(user_id: RowId, wish: UserChange, context: Context, admin: Admin) -> None:
    """Sets the password of a user, or bars or readmits them."""
    now_ms = context.now_ms()
    changes: dict[str, Any] = {}
    if wish.password is not None:
        changes["password_hash"] = _hashed(wish.password)
    if wish.is_disabled is not None:
        changes["disabled_at"] = now_ms if wish.is_disabled else None
    with context.store.write() as connection:
        if not accounts.change_user(connection, user_id, changes):
            raise not_found("user", user_id)
        if accounts.count_admins(connection) == 0:
            raise Problem(HTTPStatus.CONFLICT, "the last administrator stays")
        detail = {"changed": sorted(changes)}
        accounts.record(connection, now_ms, admin.name, "user.change", str(user_id), detail)


@router.get("/tokens", response_model=Listing[TokenShape], tags=["tokens"])
def list_tokens(context: Context, caller: Caller, page: PageByNumber) -> object:
    """The caller's tokens; an administrator sees all."""
    owner = None if caller.role is Role.ADMIN else caller.user_id
    with context.store.read() as connection:
        return listing_of(accounts.list_tokens(connection, owner, page), dict)


@router.post("/tokens", response_model=NewToken, status_code=HTTPStatus.CREATED, tags=["tokens"])
def add_token(wish: TokenWish, context: Context, caller: Caller) -> object:
    """A new token that may do what the caller may. It is shown this once."""
    now_ms = context.now_ms()
    if wish.expires_at is not None and wish.expires_at <= now_ms:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "expires_at: that is past already")
    token = new_token()
    with context.store.write() as connection:
        token_id = accounts.add_token(
            connection,
            user_id=caller.user_id,
            name=wish.name,
            token_hash=hash_secret(token),
            expires_at_ms=wish.expires_at,
            now_ms=now_ms,
        )
        accounts.record(connection, now_ms, caller.name, "token.add", wish.name)
    return {"id": token_id, "name": wish.name, "token": token}


@router.delete("/tokens/{token_id}", status_code=HTTPStatus.NO_CONTENT, tags=["tokens"])
def revoke_token(token_id: RowId, context: Context, caller: Caller) -> None:
    """Ends a token of the caller; an administrator ends any."""
    now_ms = context.now_ms()
    owner = None if caller.role is Role.ADMIN else caller.user_id
    with context.store.write() as connection:
        if not accounts.revoke_token(connection, token_id, owner, now_ms):
            raise not_found("token", token_id)
        accounts.record(connection, now_ms, caller.name, "token.revoke", str(token_id))


@router.get("/audit", response_model=Listing[AuditShape], tags=["audit"])
def list_audit(context: Context, _admin: Admin, page: PageByNumber) -> object:
    """Who did what, newest first."""
    with context.store.read() as connection:
        return listing_of(accounts.list_audit(connection, page), dict)


def _hashed(password: SecretStr) -> str:
    try:
        return hash_password(password.get_secret_value())
    except ValueError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"password: {error}") from None


def _require_enterprise(connection: Connection, key: str) -> RowMapping:
    row = find_enterprise(connection, EVERYTHING, key)
    if row is None:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"enterprise_id: no enterprise {key!r}")
    return row
